"""Replay and kept broadcasts through unmodified clients. Source: wire specification 4.10, 4.11."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.raw_socket import raw_socket, read_binary_broadcast
from tests.support.server import TidewireServer
from tests.support.stock import StockClient
from tests.support.stock_js import JsChannel, StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import unused_name

REFUSAL = "UnableToReplayMessages: Replay"


def private(**broadcast: Any) -> dict[str, Any]:
    return {"private": True, "broadcast": broadcast}


@pytest.fixture
async def topic(database: asyncpg.Connection) -> AsyncIterator[str]:
    """A private topic that authenticated users may read, write and keep messages on."""
    name = unused_name("kept")
    await database.execute(
        f"create policy {name}_r on realtime.messages for select to authenticated"
        f" using (realtime.topic() = '{name}');"
        f"create policy {name}_w on realtime.messages for insert to authenticated"
        f" with check (realtime.topic() = '{name}')"
    )
    yield name
    await database.execute(
        f"drop policy {name}_r on realtime.messages; drop policy {name}_w on realtime.messages"
    )


async def make_client(kind: str, server: TidewireServer, js: StockJs) -> StockClient:
    token = server.token("authenticated", sub="6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001")
    if kind == "py":
        return PyClient(server.url, token)
    return await js.client(server.url, token, vsn=f"{kind[2]}.0.0")


async def send(database: asyncpg.Connection, topic: str, *numbers: int) -> None:
    for number in numbers:
        query = "select realtime.send(jsonb_build_object('n', $1::int), 'e', $2)"
        await database.execute(query, number, topic)


@pytest.mark.parametrize("kind", ["js2", "js1", "py"])
async def test_history_comes_behind_the_answer_and_then_the_present_once(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs, topic: str, kind: str
) -> None:
    await send(database, topic, 1, 2, 3)
    client = await make_client(kind, server, js)
    channel = await client.channel(topic, config=private(replay={"since": 0, "limit": 2}))
    await channel.subscribe()
    await send(database, topic, 4)
    got = [await channel.broadcasts.next() for _ in range(3)]
    assert [message["payload"]["n"] for message in got] == [2, 3, 4]
    assert [message["meta"].get("replayed") for message in got] == [True, True, None]
    assert all(message["meta"]["id"] == message["payload"]["id"] for message in got)
    assert not channel.broadcasts.items
    await client.close()


async def test_since_leaves_out_what_is_older(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs, topic: str
) -> None:
    await send(database, topic, 1)
    since = int(time.time() * 1000) + 1
    while time.time() * 1000 <= since:
        await database.execute("select pg_sleep(0.002)")
    await send(database, topic, 2)
    channel = await (await make_client("js2", server, js)).channel(
        topic, config=private(replay={"since": since})
    )
    await channel.subscribe()
    assert (await channel.broadcasts.next())["payload"]["n"] == 2
    assert not channel.broadcasts.items


async def test_bytes_are_replayed_at_2_0_0_only(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs, topic: str
) -> None:
    await database.execute("select realtime.send_binary('\\x00ff', 'bytes', $1)", topic)
    await send(database, topic, 1)
    seen: dict[str, list[Any]] = {}
    for kind in ("js2", "js1"):
        channel = await (await make_client(kind, server, js)).channel(
            topic, config=private(replay={"since": 0})
        )
        await channel.subscribe()
        while not seen.get(kind) or seen[kind][-1]["event"] != "e":
            seen.setdefault(kind, []).append(await channel.broadcasts.next())
    assert [message["event"] for message in seen["js1"]] == ["e"]
    first = seen["js2"][0]
    assert (first["payload"], first["meta"]["replayed"]) == (b"\x00\xff", True)


async def test_supabase_py_is_told_that_a_public_channel_has_no_replay(
    server: TidewireServer,
) -> None:
    client = PyClient(server.url, server.anon_key)
    config = {"broadcast": {"ack": False, "self": False, "replay": {"since": 0}}}
    channel = await client.channel(unused_name(), config=config)
    await channel.start()
    error = await channel.expect_status("CHANNEL_ERROR")
    assert error is not None
    assert "Replay is not allowed for public channels" in error
    await client.close()


async def test_the_refusals_have_the_texts_of_the_wire(server: TidewireServer, topic: str) -> None:
    async with raw_socket(server.url, server.token("authenticated"), vsn="1.0.0") as socket:
        public = {"broadcast": {"replay": {"since": 0}}}
        for config, text in (
            (public, f"{REFUSAL} is not allowed for public channels"),
            (private(replay={"since": "x"}), f"{REFUSAL} params are not valid"),
        ):  # fmt: skip
            _, reply = await socket.join(f"realtime:{topic}", config)
            assert reply == {"status": "error", "response": {"reason": text}}


async def test_the_order_is_answer_presence_replay(
    database: asyncpg.Connection, server: TidewireServer, topic: str
) -> None:
    await send(database, topic, 1)
    async with raw_socket(server.url, server.token("authenticated"), vsn="2.0.0") as socket:
        config = {**private(replay={"since": 0}), "presence": {"enabled": True}}
        join_ref, reply = await socket.join(f"realtime:{topic}", config)
        assert reply["status"] == "ok"
        first, second = [await socket.frames.next() for _ in range(2)]
        assert [first[3], second[3]] == ["presence_state", "broadcast"]
        assert second[:2] == [join_ref, None]
        assert second[4]["type"] == "broadcast"
        assert second[4]["meta"]["replayed"] is True


# ------------------------------------------------------------------ kept by clients


async def test_a_kept_broadcast_of_supabase_js_is_delivered_once_and_replayed(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs, topic: str
) -> None:
    sender = await (await make_client("js2", server, js)).channel(topic, config=private(ack=True))
    receiver = await (await make_client("js2", server, js)).channel(topic, config=private())
    assert isinstance(sender, JsChannel)
    await sender.subscribe()
    await receiver.subscribe()
    message = {"type": "broadcast", "event": "kept", "payload": {"n": 1}, "persist": {"ttl": 60}}
    assert await sender.call("send", message=message) == "ok"
    await sender.call("send", message={"type": "broadcast", "event": "end", "payload": {}})
    live = await receiver.broadcasts.next()
    assert (live["event"], live["payload"]) == ("kept", {"n": 1})
    assert (await receiver.broadcasts.next())["event"] == "end"
    row = await database.fetchrow(
        "select id::text, extension, private, skip_broadcast, payload,"
        " extract(epoch from expires_at - inserted_at)::int as ttl_s"
        " from realtime.messages where topic = $1",
        topic,
    )
    assert row is not None
    assert (row["extension"], row["private"], row["skip_broadcast"]) == ("broadcast", True, True)
    assert (json.loads(row["payload"]), row["ttl_s"]) == ({"n": 1}, 60)
    late = await (await make_client("js2", server, js)).channel(
        topic, config=private(replay={"since": 0})
    )
    await late.subscribe()
    replayed = await late.broadcasts.next()
    assert replayed["payload"] == {"n": 1}
    assert replayed["meta"] == {"id": row["id"], "replayed": True}
    assert live["meta"]["id"] == row["id"]


async def test_the_acknowledgement_of_a_kept_push_holds_its_id(
    database: asyncpg.Connection, server: TidewireServer, topic: str
) -> None:
    async with raw_socket(server.url, server.token("authenticated"), vsn="2.0.0") as socket:
        join_ref, _ = await socket.join(f"realtime:{topic}", private(ack=True, self=True))
        fields = [join_ref, "p1", f"realtime:{topic}", "e", '{"persist":true}']
        encoded = [field.encode() for field in fields]
        head = bytes([3, *map(len, encoded), 1])
        await socket.socket.send(head + b"".join(encoded) + b'{"x":1}')
        reply = await socket.next("phx_reply")
        row_id = await database.fetchval(
            "select id::text from realtime.messages where topic = $1", topic
        )
        assert reply[4] == {"status": "ok", "response": {"id": row_id}}
        own = await socket.frames.next(lambda frame: isinstance(frame, bytes))
        assert json.loads(read_binary_broadcast(own)[2]) == {"id": row_id}


async def test_http_send_keeps_what_it_is_asked_to(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs, topic: str
) -> None:
    channel = await (await make_client("js2", server, js)).channel(topic, config=private())
    assert isinstance(channel, JsChannel)
    answer = await channel.call(
        "httpSend", event="kept", payload={"n": 1}, options={"persist": {"ttl": 60}}
    )
    assert answer == {"success": True}
    late = await (await make_client("js1", server, js)).channel(
        topic, config=private(replay={"since": 0})
    )
    query = "select count(*) from realtime.messages where topic = $1"
    async with asyncio.timeout(5):
        while not await database.fetchval(query, topic):
            pass  # it is kept in the background
    await late.subscribe()
    assert (await late.broadcasts.next())["payload"] == {"n": 1}


async def test_policies_decide_over_http_too(server: TidewireServer, topic: str) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        for role, status in (("authenticated", 202), ("anon", 403)):
            answer = await http.post(
                f"/realtime/v1/api/broadcast/{topic}/events/e?private=true",
                json={},
                headers={"Authorization": f"Bearer {server.token(role)}"},
            )
            assert answer.status_code == status
