"""Tokens that are ended before their time, by SQL and by REST, as stock clients see it."""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import httpx
import jwt
import pytest

from tests.conformance.conftest import MakeClient
from tests.conformance.test_connecting import refusal
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.tables import connect, unused_name

REVOKED = "Token has been revoked"
WITHIN_S = 1.0
"""What is promised."""

SESSION = "select realtime.revoke_session($1)"
USER = "select realtime.revoke_user($1::text)"
USER_UUID = "select realtime.revoke_user($1::uuid)"


def undated(server: TidewireServer) -> str:
    """A token that does not say when it was issued."""
    claims = {"role": "authenticated", "sub": "u2", "exp": time.time() + 3600}
    return jwt.encode(claims, server.ready["jwt_secret"], algorithm="HS256")


async def post(server: TidewireServer, body: Any, key: str | None = None) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        return await http.post(
            f"{server.url}/realtime/v1/api/revoke",
            json=body,
            headers={"apikey": key or server.service_key},
        )


async def test_every_client_is_told_within_a_second_and_the_others_go_on(
    server: TidewireServer, stock: MakeClient, database: asyncpg.Connection
) -> None:
    session = unused_name("session")
    ended, other = await stock(), await stock()
    await ended.set_auth(server.token("authenticated", session_id=session))
    await other.set_auth(server.token("authenticated", session_id=unused_name("session")))
    topic = unused_name("revoked")
    channel = await ended.channel(topic)
    await channel.subscribe()
    kept = await other.channel(topic, config={"broadcast": {"ack": True, "self": True}})
    await kept.subscribe()
    started = time.monotonic()
    await database.execute(SESSION, session)
    if ended.is_python:
        error = await channel.expect_status("CHANNEL_ERROR")
        assert error is not None
        assert REVOKED in error
    else:
        system = await channel.systems.next()
        assert (system["status"], system["message"]) == ("error", REVOKED)
        await channel.expect_status("CLOSED")
    assert time.monotonic() - started < WITHIN_S
    await kept.send("e", {"x": 1})
    assert (await kept.broadcasts.next())["payload"] == {"x": 1}


@pytest.mark.parametrize("query", [USER, USER_UUID])
async def test_a_user_is_signed_out_and_may_sign_in_again(
    server: TidewireServer, database: asyncpg.Connection, query: str
) -> None:
    user = str(await database.fetchval("select gen_random_uuid()"))
    now_s = time.time()
    old = server.token("authenticated", sub=user, iat=now_s - 5)
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:user", access_token=old)
        await database.execute(query, user)
        system = await raw.next("system")
        assert system[4]["message"] == REVOKED
        assert (await raw.next("phx_close"))[2] == "realtime:user"
        _, reply = await raw.join("realtime:user", access_token=old)
        assert reply["response"] == {"reason": f"InvalidJWTToken: {REVOKED}"}
        new = server.token("authenticated", sub=user, iat=time.time() + 1)
        _, reply = await raw.join("realtime:user", access_token=new)
        assert reply["status"] == "ok"


async def test_everything_issued_before_a_moment_ends_but_keys_stay(
    own_server: TidewireServer,
) -> None:
    server = own_server
    hour_ago = time.time() - 3600
    tokens = {
        "old": server.token("authenticated", sub="u1", iat=hour_ago),
        "nobody's": server.token("authenticated", iat=hour_ago),
        "undated": undated(server),
        "new": server.token("authenticated", sub="u1"),
        "key": server.token("anon", iat=hour_ago),
    }
    async with raw_socket(server.url, server.anon_key) as raw:
        for name, token in tokens.items():
            await raw.join(f"realtime:{name}", access_token=token)
        database = await connect(server.database_url)
        await database.execute(
            "select realtime.revoke_issued_before(now() - interval '10 minutes')"
        )
        await database.close()
        closed = {(await raw.next("phx_close"))[2] for _ in range(3)}
        assert closed == {"realtime:old", "realtime:nobody's", "realtime:undated"}
        await raw.heartbeat()
        assert "phx_close" not in [frame[3] for frame in raw.frames.items]


async def test_a_revoked_token_opens_nothing_any_more(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    session = unused_name("session")
    token = server.token("service_role", session_id=session)
    await database.execute(SESSION, session)
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:refused")
        await raw.push("realtime:refused", "access_token", {"access_token": token})
        assert (await raw.next("system"))[4]["message"] == REVOKED
    assert (await post(server, {"user_id": "nobody"}, key=token)).status_code == 401
    assert await refusal(server, token) == (401, {"error": REVOKED})


async def test_rest_revokes_and_has_done_so_when_it_answers(server: TidewireServer) -> None:
    session, user = unused_name("session"), unused_name("user")
    now_s = time.time()
    by_session = server.token("authenticated", session_id=session)
    by_user = server.token("authenticated", sub=user, iat=now_s - 60)
    async with raw_socket(server.url, server.anon_key) as raw:
        for name, token in (("s", by_session), ("u", by_user)):
            await raw.join(f"realtime:{name}", access_token=token)
        for name, body in (
            ("s", {"session_id": session, "expires_at": now_s + 3600}),
            ("u", {"user_id": user, "issued_before": "2999-01-01T00:00:00Z"}),
        ):
            answer = await post(server, body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"] > 0
            token = by_session if name == "s" else by_user
            _, reply = await raw.join("realtime:again", access_token=token)
            assert reply["response"]["reason"] == f"InvalidJWTToken: {REVOKED}"
            assert (await raw.next("phx_close"))[2] == f"realtime:{name}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ([], 422),
        ({"session_id": ""}, 422),
        ({"session_id": "s", "user_id": "u"}, 422),
        ({"user_id": "u", "issued_before": "yesterday"}, 422),
        ({"issued_before": "2026-01-01T00:00:00"}, 422),
        ({"user": "u"}, 422),
    ],
)
async def test_rest_refuses_what_it_does_not_understand(
    server: TidewireServer, body: Any, status: int
) -> None:
    answer = await post(server, body)
    assert answer.status_code == status
    assert set(answer.json()) == {"message"}


async def test_rest_is_for_servers_only(server: TidewireServer) -> None:
    for key, status in (
        (server.anon_key, 403),
        (server.token("authenticated", sub="u"), 403),
        ("x.y.z", 401),
    ):
        answer = await post(server, {"user_id": "u"}, key=key)
        assert (answer.status_code, answer.json()) == (status, {"message": "Unauthorized"})


async def test_revocations_outlive_the_server(own_server: TidewireServer) -> None:
    server = own_server
    session = unused_name("session")
    token = server.token("authenticated", session_id=session)
    assert (await post(server, {"session_id": session})).status_code == 200
    server.kill()
    server.start()
    async with raw_socket(server.url, server.anon_key) as raw:
        _, reply = await raw.join("realtime:after", access_token=token)
        assert reply["response"] == {"reason": f"InvalidJWTToken: {REVOKED}"}


async def test_only_service_role_may_revoke_from_sql(database: asyncpg.Connection) -> None:
    calls = [
        "realtime.revoke_session('x')",
        "realtime.revoke_user('x')",
        "realtime.revoke_issued_before('2000-01-01')",
    ]
    for role, may in (("anon", False), ("authenticated", False), ("service_role", True)):
        for call in calls:
            async with database.transaction():
                await database.execute(f"set local role {role}")
                if may:
                    await database.execute(f"select {call}")
                else:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        async with database.transaction():
                            await database.execute(f"select {call}")
    for role in ("anon", "service_role"):
        async with database.transaction():
            await database.execute(f"set local role {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with database.transaction():
                    await database.execute("select * from realtime.revocations")


async def test_a_message_that_somebody_made_up_revokes_nothing(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:calm", access_token=server.token("authenticated", sub="u9"))
        for content in ("4711000000", '{"user_id":"u9"}', "", "x"):
            await database.execute(
                "select pg_logical_emit_message(true, 'tidewire.revoke', $1::text)", content
            )
        await database.execute(USER, "somebody else")
        await raw.heartbeat()
        assert "phx_close" not in [frame[3] for frame in raw.frames.items]
