"""Broadcasts from SQL to unmodified clients. Source: wire specification 4.12."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket, read_binary_broadcast
from tests.support.server import TidewireServer
from tests.support.stock_js import StockJs
from tests.support.tables import make_table, unused_name

PRIVATE = {"private": True}


async def send(database: asyncpg.Connection, topic: str, payload: Any, **more: Any) -> None:
    await database.execute(
        "select realtime.send($1::jsonb, $2, $3, $4)",
        json.dumps(payload),
        more.get("event", "e"),
        topic,
        more.get("private", False),
    )


async def count_of(server: TidewireServer, metric: str) -> float:
    async with httpx.AsyncClient(base_url=server.url) as http:
        text = (await http.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith(f"{metric} ")]
    return float(line.split()[1])


async def test_send_reaches_every_kind_of_client_with_its_id(
    database: asyncpg.Connection, stock: MakeClient
) -> None:
    topic = unused_name("room:ü")
    channel = await (await stock()).channel(topic)
    await channel.subscribe()
    await send(database, topic, {"x": [1, None, "ü"]}, event="made")
    got = await channel.broadcasts.next()
    assert got["event"] == "made"
    assert got["payload"] == {"x": [1, None, "ü"], "id": got["meta"]["id"]}


async def test_an_id_of_the_payloads_own_is_left_alone(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    channel = await (await js.client(server.url, server.anon_key)).channel(topic)
    await channel.subscribe()
    await send(database, topic, {"id": 7})
    got = await channel.broadcasts.next()
    assert got["payload"] == {"id": 7}
    assert len(got["meta"]["id"]) == 36


async def test_send_binary_arrives_byte_for_byte_and_only_at_2_0_0(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic, body = unused_name("room"), bytes(range(256))
    new = await (await js.client(server.url, server.anon_key)).channel(topic)
    old = await (await js.client(server.url, server.anon_key, vsn="1.0.0")).channel(topic)
    for channel in (new, old):
        await channel.subscribe()
    await database.execute("select realtime.send_binary($1, 'bytes', $2, false)", body, topic)
    await send(database, topic, {"x": 1})
    assert (await new.broadcasts.next())["payload"] == body
    assert (await old.broadcasts.next())["event"] == "e"
    assert not old.broadcasts.items


async def test_a_row_is_a_binary_frame_of_kind_four(
    database: asyncpg.Connection, server: TidewireServer
) -> None:
    topic = unused_name("room")
    async with raw_socket(server.url, server.service_key, vsn="2.0.0") as socket:
        await socket.join(f"realtime:{topic}", {"private": True})
        await send(database, topic, {"x": 1.50}, event="INSERT", private=True)
        frame = await socket.frames.next(lambda frame: isinstance(frame, bytes))
        got_topic, event, meta, encoding, body = read_binary_broadcast(frame)
        row_id = await database.fetchval("select id from realtime.messages where topic = $1", topic)
        assert (got_topic, event, encoding) == (f"realtime:{topic}", "INSERT", 1)
        assert json.loads(meta) == {"id": str(row_id)}
        assert body == b'{"x": 1.5, "id": "%b"}' % str(row_id).encode()


async def test_private_and_public_messages_go_to_their_own_rooms(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    client = await js.client(server.url, server.service_key)
    private = await client.channel(topic, config=PRIVATE)
    public = await (await js.client(server.url, server.anon_key)).channel(topic)
    await private.subscribe()
    await public.subscribe()
    await database.execute("select realtime.send('{\"to\": \"members\"}', 'e', $1)", topic)
    await send(database, topic, {"to": "all"})
    assert (await private.broadcasts.next())["payload"]["to"] == "members"
    assert (await public.broadcasts.next())["payload"]["to"] == "all"
    assert not private.broadcasts.items
    assert not public.broadcasts.items


async def test_a_trigger_broadcasts_what_changed(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    table = await make_table(database, publish=False)
    await database.execute(
        f"create function tell_{table}() returns trigger language plpgsql security definer as $$"
        " begin perform realtime.broadcast_changes("
        f"  '{table}:' || coalesce(new.id, old.id), tg_op, tg_op, tg_table_name,"
        "  tg_table_schema, new, old); return null; end $$;"
        f"create trigger tell after insert or update or delete on {table}"
        f" for each row execute function tell_{table}()"
    )
    channel = await (await js.client(server.url, server.service_key)).channel(
        f"{table}:1", config=PRIVATE
    )
    await channel.subscribe()
    await database.execute(
        f"insert into {table} values (1, 'a'), (2, 'b'); update {table} set name = 'c';"
        f"delete from {table}"
    )
    for event, record, old in (
        ("INSERT", {"id": 1, "name": "a"}, None),
        ("UPDATE", {"id": 1, "name": "c"}, {"id": 1, "name": "a"}),
        ("DELETE", None, {"id": 1, "name": "c"}),
    ):
        got = await channel.broadcasts.next()
        assert got["event"] == event
        assert got["payload"] == {
            "id": got["meta"]["id"], "record": record, "old_record": old,
            "operation": event, "table": table, "schema": "public",
        }  # fmt: skip
    assert not channel.broadcasts.items


async def test_what_is_rolled_back_is_never_sent(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    channel = await (await js.client(server.url, server.anon_key)).channel(topic)
    await channel.subscribe()
    transaction = database.transaction()
    await transaction.start()
    await send(database, topic, {"n": 1})
    await transaction.rollback()
    async with database.transaction():
        savepoint = database.transaction()
        await savepoint.start()
        await send(database, topic, {"n": 2})
        await savepoint.rollback()
        await send(database, topic, {"n": 3})
    assert (await channel.broadcasts.next())["payload"]["n"] == 3
    assert not channel.broadcasts.items


async def test_messages_and_changes_come_in_commit_order(
    database: asyncpg.Connection, server: TidewireServer
) -> None:
    table, topic = await make_table(database), f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key, vsn="1.0.0") as socket:
        entry = {"event": "*", "schema": "public", "table": table}
        await socket.join(topic, {"postgres_changes": [entry]})
        await socket.next("system")
        for number in range(10):
            async with database.transaction():
                await database.execute(f"insert into {table} values ($1, 'x')", number)
                await send(database, topic.removeprefix("realtime:"), {"n": number})
            # Commits of one turn of the server's loop go out by room, not by commit.
            seen = [await socket.frames.next() for _ in range(2)]
            assert {frame[3] for frame in seen} == {"postgres_changes", "broadcast"}
            for frame in seen:
                payload = frame[4]
                told = payload.get("data", {}).get("record", {}).get("id")
                assert (told if frame[3] == "postgres_changes" else payload["payload"]["n"]) == (
                    number
                )


async def test_messages_of_many_writers_all_arrive_each_writers_in_order(
    server: TidewireServer, database: asyncpg.Connection, js: StockJs
) -> None:
    topic = unused_name("room")
    channel = await (await js.client(server.url, server.anon_key)).channel(topic)
    await channel.subscribe()

    async def write(writer: int) -> None:
        connection = await asyncpg.connect(server.database_url)
        for number in range(50):
            await send(connection, topic, {"writer": writer, "n": number})
        await connection.close()

    await asyncio.gather(*[write(writer) for writer in range(4)])
    got = [(await channel.broadcasts.next())["payload"] for _ in range(200)]
    for writer in range(4):
        assert [p["n"] for p in got if p["writer"] == writer] == list(range(50))


async def test_who_asks_is_told_that_messages_from_sql_arrive(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    config = {"broadcast": {"replication_ready": True}}
    channel = await (await js.client(server.url, server.anon_key)).channel(topic, config=config)
    await channel.subscribe()
    assert await channel.systems.next() == {
        "extension": "system",
        "status": "ok",
        "message": "Replication connection established",
        "channel": topic,
    }


# ------------------------------------------------------------------ what cannot be sent


@pytest.mark.parametrize("payload", ["[1]", "7", '"text"', None])
async def test_a_payload_that_is_no_object_fails_the_statement(
    database: asyncpg.Connection, payload: str | None
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no JSON object"):
        await database.execute("select realtime.send($1::jsonb, 'e', 't')", payload)


async def test_a_payload_above_the_limit_fails_the_statement(database: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="bytes"):
        await send(database, "t", {"x": "y" * 3_100_000})


async def test_a_role_without_the_right_is_told(database: asyncpg.Connection) -> None:
    async with database.transaction():
        await database.execute("set local role anon")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.transaction():
                await send(database, "t", {"x": 1})


async def test_by_setting_a_failure_warns_is_counted_and_the_rest_goes_on(
    database: asyncpg.Connection, server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    channel = await (await js.client(server.url, server.anon_key)).channel(topic)
    await channel.subscribe()
    before = await count_of(server, "tidewire_send_failures_total")
    warnings: list[str] = []
    database.add_log_listener(lambda _, message: warnings.append(message.message))
    async with database.transaction():
        await database.execute("set local tidewire.send_errors = 'warn'")
        await database.execute("select realtime.send('[1]', 'e', $1, false)", topic)
        await send(database, topic, {"n": 2})
    assert (await channel.broadcasts.next())["payload"]["n"] == 2
    assert warnings == ["WarnSendingBroadcastMessage: the payload is no JSON object"]
    assert await count_of(server, "tidewire_send_failures_total") == before + 1


async def test_the_topic_is_known_to_policies_for_the_transaction(
    database: asyncpg.Connection,
) -> None:
    async with database.transaction():
        await send(database, "room:7", {"x": 1})
        assert await database.fetchval("select realtime.topic()") == "room:7"


async def test_broadcast_changes_refuses_statement_triggers(database: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.FeatureNotSupportedError):
        await database.execute(
            "select realtime.broadcast_changes('t', 'e', 'INSERT', 'x', 'public', null::record,"
            " null::record, 'STATEMENT')"
        )
