"""Tokens and keys of every kind through unmodified clients. Source: wire specification 1.3, 3.9,
3.10, 7.1.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.conformance.conftest import MakeClient
from tests.conformance.test_connecting import refusal
from tests.support.key_server import KeyServer
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.signing_keys import ASYMMETRIC, SigningKey, key_set
from tests.support.stock import StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import connect, make_table, unused_name

ECHO = {"broadcast": {"ack": True, "self": True}}
PUBLISHABLE = "sb_publishable_0123456789abcdef01234567"
SECRET = "sb_secret_fedcba987654321076543210"

MakeOf = Callable[[str, str], Awaitable[StockClient]]


@contextmanager
def serving(**environment: str) -> Generator[TidewireServer]:
    """A server with these settings."""
    server = TidewireServer(environment={"no_proxy": "127.0.0.1", **environment})
    try:
        server.start()
        yield server
        server.check_log()
    finally:
        server.close()


@pytest.fixture(params=["js2", "js1", "py"])
async def make_client(request: pytest.FixtureRequest, js: StockJs) -> MakeOf:
    """Makes clients of one kind for any server and key; the test runs once for each kind."""

    async def make(url: str, key: str) -> StockClient:
        if request.param == "py":
            return PyClient(url, key)
        return await js.client(url, key, vsn="2.0.0" if request.param == "js2" else "1.0.0")

    return make


def claims(role: str = "authenticated", **more: Any) -> dict[str, Any]:
    return {"role": role, "exp": int(time.time()) + 3600, **more}


async def hears_itself(client: StockClient, topic: str) -> None:
    """The client subscribes, and its broadcast comes back."""
    channel = await client.channel(topic, config=ECHO)
    await channel.subscribe()
    await channel.send("e", {"x": 1})
    assert (await channel.broadcasts.next())["payload"] == {"x": 1}


@pytest.fixture(scope="module")
def keys() -> dict[str, SigningKey]:
    return {kind: SigningKey(kind, kind) for kind in ASYMMETRIC}


@pytest.fixture(scope="module")
def file_server(
    keys: dict[str, SigningKey], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TidewireServer]:
    """A server with a JWKS file, opaque keys and demands on claims."""
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_bytes(key_set(*keys.values()))
    with serving(
        TIDEWIRE_AUTH__JWKS_FILE=str(file),
        TIDEWIRE_AUTH__PUBLISHABLE_KEYS=json.dumps({"web": PUBLISHABLE}),
        TIDEWIRE_AUTH__SECRET_KEYS=json.dumps({"jobs": SECRET}),
        TIDEWIRE_AUTH__REQUIRED_CLAIMS=json.dumps({"iss": "tests"}),
        TIDEWIRE_AUTH__AUDIENCES="authenticated",
        TIDEWIRE_LOG__LEVEL="debug",
    ) as server:
        yield server


GOOD = {"iss": "tests", "aud": "authenticated"}


@pytest.mark.parametrize("kind", ASYMMETRIC)
async def test_a_user_of_any_algorithm_joins_with_an_opaque_project_key(
    file_server: TidewireServer, make_client: MakeOf, keys: dict[str, SigningKey], kind: str
) -> None:
    client = await make_client(file_server.url, PUBLISHABLE)
    await client.set_auth(keys[kind].sign(claims(sub="u1", **GOOD)))
    await hears_itself(client, unused_name("room"))
    if client.is_python:
        await client.close()


async def test_the_servers_own_keys_meet_its_own_demands(
    file_server: TidewireServer, make_client: MakeOf
) -> None:
    client = await make_client(file_server.url, file_server.anon_key)
    await hears_itself(client, unused_name("room"))
    if client.is_python:
        await client.close()


async def test_a_claim_that_is_not_as_demanded_is_named(
    file_server: TidewireServer, keys: dict[str, SigningKey]
) -> None:
    key = keys["ES256"]
    async with raw_socket(file_server.url, PUBLISHABLE) as raw:
        for wrong, name in (({**GOOD, "iss": "them"}, "iss"), ({"iss": "tests"}, "aud")):
            _, reply = await raw.join("realtime:x", access_token=key.sign(claims(**wrong)))
            reason = f"InvalidJWTToken: Field `{name}` is not as required in JWT"
            assert reply["response"] == {"reason": reason}


async def test_an_opaque_key_of_a_server_is_service_role_over_http(
    file_server: TidewireServer,
) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        for key, status in ((SECRET, 200), (PUBLISHABLE, 403), (SECRET + "x", 401)):
            for headers in ({"apikey": key}, {"Authorization": f"Bearer {key}"}):
                answer = await http.post(
                    f"{file_server.url}/realtime/v1/api/revoke",
                    json={"user_id": "nobody"},
                    headers=headers,
                )
                assert answer.status_code == status


async def test_an_opaque_key_that_is_not_ours_opens_nothing(file_server: TidewireServer) -> None:
    told = (401, {"error": "The token provided is not a valid JWT"})
    assert await refusal(file_server, SECRET[:-1]) == told


async def test_no_secret_ever_stands_in_the_log(
    file_server: TidewireServer, keys: dict[str, SigningKey]
) -> None:
    key = keys["Ed25519"]
    good = key.sign(claims(**GOOD))
    bad = key.sign(claims(**GOOD))[:-8] + "AAAAAAAA"
    unknown = SigningKey("ES256", "unknown").sign(claims(**GOOD))
    old = key.sign({**claims(**GOOD), "exp": int(time.time()) - 5})
    shown = [good, bad, unknown, old, SECRET, PUBLISHABLE, SECRET + "y"]
    async with raw_socket(file_server.url, PUBLISHABLE) as raw:
        for token in shown:
            await raw.join("realtime:secrets", access_token=token)
            await raw.push("realtime:secrets", "access_token", {"access_token": token})
        await raw.heartbeat()
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        for token in shown:
            await refusal(file_server, token + "z")
            await http.post(
                f"{file_server.url}/realtime/v1/api/revoke?apikey={token}",
                content=b"{",
                headers={"Authorization": f"Bearer {token}"},
            )
    ready = file_server.ready
    hidden = [token.rpartition(".")[2] for token in shown]
    hidden += [ready["jwt_secret"], ready["anon_key"], ready["service_role_key"]]
    password = ready["database_url"].partition("@")[0].rpartition(":")[2]
    log = file_server.log()
    assert len(log) > 1000
    assert [secret for secret in [*hidden, password] if secret in log] == []


# ------------------------------------------------------------------ rotation


async def test_a_key_made_a_moment_ago_is_taken_at_the_first_join(make_client: MakeOf) -> None:
    old, new = SigningKey("ES256", "old"), SigningKey("Ed25519", "new")
    with (
        KeyServer(key_set(old)) as issuer,
        serving(TIDEWIRE_AUTH__JWKS_URL=issuer.url) as server,
    ):
        client = await make_client(server.url, server.anon_key)
        await client.set_auth(old.sign(claims(sub="u1")))
        await hears_itself(client, "old")
        issuer.document = key_set(old, new)
        await client.set_auth(new.sign(claims(sub="u1")))
        await hears_itself(client, "new")
        assert len(issuer.asked_s) == 2
        issuer.status = 500
        await client.set_auth(old.sign(claims(sub="u2")))
        await hears_itself(client, "away")
        if client.is_python:
            await client.close()


async def test_whoever_makes_up_keys_has_the_address_asked_once_in_five_seconds() -> None:
    made_up = [SigningKey("Ed25519", f"k{number}").sign(claims()) for number in range(40)]
    with KeyServer(key_set()) as issuer, serving(TIDEWIRE_AUTH__JWKS_URL=issuer.url) as server:
        async with raw_socket(server.url, server.anon_key) as raw:
            started_s = time.monotonic()
            joins = [raw.join(f"realtime:{n}", access_token=t) for n, t in enumerate(made_up)]
            replies = await asyncio.gather(*joins)
            assert time.monotonic() - started_s < 9
            assert {reply["status"] for _, reply in replies} == {"error"}
            again_s = time.monotonic()
            await raw.join("realtime:again", access_token=made_up[0])
            assert time.monotonic() - again_s < 1
        assert len(issuer.asked_s) <= 3


async def test_a_file_that_changes_is_read_again_within_a_second_or_two(tmp_path: Path) -> None:
    old, new = SigningKey("ES256", "old"), SigningKey("ES256", "new")
    file, aside = tmp_path / "jwks.json", tmp_path / "aside"
    file.write_bytes(key_set(old))
    with serving(TIDEWIRE_AUTH__JWKS_FILE=str(file)) as server:
        async with raw_socket(server.url, server.anon_key) as raw:
            _, reply = await raw.join("realtime:x", access_token=new.sign(claims()))
            assert reply["status"] == "error"
            aside.write_bytes(key_set(new))
            aside.replace(file)
            fresh = SigningKey("ES256", "new")
            fresh.private = new.private
            async with asyncio.timeout(5):
                while reply["status"] != "ok":
                    _, reply = await raw.join("realtime:x", access_token=fresh.sign(claims()))
            async with asyncio.timeout(5):
                while reply["status"] == "ok":
                    _, reply = await raw.join("realtime:x", access_token=old.sign(claims()))


def test_a_weak_key_or_a_public_key_as_secret_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(SigningKey("RS256", rsa_bits=1024)))
    for environment, told in (
        ({"TIDEWIRE_AUTH__JWKS_FILE": str(file)}, "1024 bits"),
        ({"TIDEWIRE_AUTH__JWT_SECRET": "short"}, "32 or more"),
        ({"TIDEWIRE_AUTH__JWT_SECRET": "-----BEGIN PUBLIC KEY-----" + "x" * 40}, "PEM"),
        ({"TIDEWIRE_AUTH__SECRET_KEYS": '{"jobs": "sb_secret_short"}'}, "22 characters"),
    ):
        server = TidewireServer(environment=environment)
        try:
            with pytest.raises(AssertionError, match=told):
                server.start()
            assert "Traceback" not in server.log()
        finally:
            server.close()


# ------------------------------------------------------------------ expiry and refresh


async def test_every_client_is_told_within_a_second_of_the_end_of_its_token(
    server: TidewireServer, stock: MakeClient
) -> None:
    client = await stock()
    ends_at_s = int(time.time()) + 3
    await client.set_auth(server.token("authenticated", exp=ends_at_s))
    channel = await client.channel(unused_name("short"))
    await channel.subscribe()
    error = None
    if client.is_python:
        error = await channel.expect_status("CHANNEL_ERROR")
    else:
        await channel.expect_status("CLOSED")
        error = (await channel.systems.next())["message"]
    late_s = time.time() - ends_at_s
    assert error is not None
    assert "Token has expired " in error
    assert 0 <= late_s < 1


@pytest.mark.parametrize("roles", [["authenticated"], ["authenticated", "service_role"]])
async def test_refreshes_cost_no_change_and_double_none(
    server: TidewireServer, stock: MakeClient, database: asyncpg.Connection, roles: list[str]
) -> None:
    table = await make_table(database)
    client = await stock()
    await client.set_auth(server.token(roles[0], sub="u0"))
    entry = {"event": "*", "schema": "public", "table": table}
    channel = await client.channel(unused_name("refreshed"), changes=[entry])
    await channel.subscribe()
    wanted = 300
    done = asyncio.Event()

    async def write() -> None:
        for number in range(1, wanted + 1):
            await database.execute(f"insert into {table} values ($1, 'x')", number)
        done.set()

    writer = asyncio.create_task(write())
    refreshes = 0
    while not done.is_set():
        refreshes += 1
        role = roles[refreshes % len(roles)]
        await client.set_auth(server.token(role, sub=f"u{refreshes}"))
        await asyncio.sleep(0)  # supabase-py's call never gives others their turn
    await writer
    await channel.changes.next(lambda change: change["new"]["id"] == wanted)
    assert [change["new"]["id"] for change in channel.changes.seen] == list(range(1, wanted + 1))
    assert refreshes > 20
    assert not channel.statuses.items


async def test_a_thousand_refreshes_at_once_miss_nothing_and_hold_nobody_up(
    own_server: TidewireServer,
) -> None:
    server = own_server
    database = await connect(server.database_url)
    table = await make_table(database)
    entry = {"event": "INSERT", "schema": "public", "table": table}
    topics = [f"realtime:many-{number}" for number in range(100)]
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(raw_socket(server.url, server.anon_key))
            for _ in range(10)
        ]
        bystander = await stack.enter_async_context(raw_socket(server.url, server.anon_key))
        for socket in sockets:
            joins = [
                socket.join(
                    topic,
                    {"postgres_changes": [entry]},
                    access_token=server.token("authenticated", sub="u0"),
                )
                for topic in topics
            ]
            assert {reply["status"] for _, reply in await asyncio.gather(*joins)} == {"ok"}
        tokens = [
            [server.token(("authenticated", "anon")[n % 2], sub=f"{s}-{n}") for n in range(100)]
            for s in range(10)
        ]
        longest_s = 0.0
        done = asyncio.Event()

        async def beat() -> None:
            nonlocal longest_s
            while not done.is_set():
                started_s = time.monotonic()
                await bystander.heartbeat()
                longest_s = max(longest_s, time.monotonic() - started_s)

        async def refresh(number: int) -> None:
            for topic, token in zip(topics, tokens[number], strict=True):
                await sockets[number].push(topic, "access_token", {"access_token": token})

        beating = asyncio.create_task(beat())
        refreshing = asyncio.gather(*[refresh(number) for number in range(10)])
        for number in range(1, 11):
            await database.execute(f"insert into {table} values ($1, 'x')", number)
        await refreshing
        await database.execute(f"insert into {table} values (11, 'last')")
        for socket in sockets:
            for _ in range(100 * 11):
                await socket.next("postgres_changes")
            ids = [
                frame[4]["data"]["record"]["id"]
                for frame in socket.frames.seen
                if frame[3] == "postgres_changes" and frame[2] == topics[7]
            ]
            assert ids == list(range(1, 12))
        done.set()
        await beating
        # Measured from a client that is busy itself; the bench has the true figure.
        assert longest_s < 2
    await database.close()
