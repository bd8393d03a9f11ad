"""Input that no client of ours sends: it is answered or dropped, and nobody else notices.

Every case runs beside a bystander on the same server, which must keep working, and the log must
show nothing unhandled (the `server` fixture looks).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer
from tests.support.tables import connect, make_table, unused_name

BOTH = pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])


@contextlib.asynccontextmanager
async def bystander(server: TidewireServer) -> AsyncGenerator[None]:
    """A client that was there before, and must not notice anything."""
    topic = f"realtime:{unused_name('bystander')}"
    database = await connect(server.database_url)
    table = await make_table(database)
    entry = {"event": "*", "schema": "public", "table": table}
    try:
        async with raw_socket(server.url, server.anon_key) as raw:
            config = {"broadcast": {"self": True, "ack": True}, "postgres_changes": [entry]}
            await raw.join(topic, {**config, "presence": {"key": "b", "enabled": True}})
            await raw.next("system")
            yield
            payload = {"type": "broadcast", "event": "e", "payload": {"still": "here"}}
            assert (await raw.ask(topic, "broadcast", payload))["status"] == "ok"
            assert (await raw.next("broadcast"))[4] == payload
            await database.execute(f"insert into {table} values (1, 'x')")
            await raw.next("postgres_changes")
            tracked = {"type": "presence", "event": "track", "payload": {"x": 1}}
            assert (await raw.ask(topic, "presence", tracked))["status"] == "ok"
            await raw.next("presence_diff")
            assert not raw.closed.is_set()
    finally:
        await database.close()


MALFORMED: list[str] = [
    "",
    " ",
    "null",
    "true",
    "7",
    '"text"',
    "{}",
    "[]",
    "{",
    "[",
    "]",
    "[1,2]",
    "[null,null,null,null]",
    '[null,"1","phoenix","heartbeat"]',
    "[null,null,7,8,{}]",
    '["1","1",null,"phx_join",{}]',
    '["1","1","realtime:x",null,{}]',
    '{"topic":"phoenix"}',
    '{"topic":"phoenix","event":"heartbeat","payload":{}}',
    '{"topic":7,"event":"heartbeat","payload":{},"ref":"1"}',
    '{"topic":"phoenix","event":["heartbeat"],"payload":{},"ref":"1"}',
    '[null,"1","phoenix","heartbeat",{}',
    '[null,"1","phoenix","heartbeat",{}]]',
    "[" * 100_000,
    "[" * 50_000 + "]" * 50_000,
    '{"a":' * 20_000,
    '["1","1","realtime:x","phx_join",' + "[" * 5000 + "]" * 5000 + "]",
    '["1","1","\\ud800","phx_join",{}]',
    '["1","1","realtime:x","phx_join",{"config":{"a":1e999,"b":-1e-999}}]',
    '["1","1","realtime:x","phx_join",NaN]',
    "\x00",
    "\ufeff[]",
    "'single'",
]


@BOTH
async def test_malformed_frames_are_dropped_and_the_connection_stays(
    server: TidewireServer, vsn: str
) -> None:
    async with bystander(server), raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        for text in MALFORMED:
            await raw.socket.send(text)
            await raw.heartbeat()
        assert not raw.closed.is_set()


async def test_invalid_utf_8_closes_this_connection_only(server: TidewireServer) -> None:
    from websockets.frames import Frame, Opcode

    async with bystander(server), raw_socket(server.url, server.anon_key) as raw:
        frame = Frame(Opcode.TEXT, b'[null,"1","phoenix","heartbeat",{"a":"\xff\xfe"}]')
        raw.socket.transport.write(frame.serialize(mask=True))
        assert await raw.wait_closed() == 1007


@BOTH
async def test_a_message_above_the_limit_closes_this_connection_with_1009(
    server: TidewireServer, vsn: str
) -> None:
    async with bystander(server), raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        with contextlib.suppress(ConnectionClosed):
            await raw.socket.send('{"x":"' + "x" * 5_100_000 + '"}')
        assert await raw.wait_closed() == 1009


@BOTH
async def test_a_message_just_below_the_limit_is_taken(server: TidewireServer, vsn: str) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        await raw.socket.send('{"x":"' + "x" * 4_900_000 + '"}')
        await raw.heartbeat()


@BOTH
async def test_ten_thousand_joins_on_one_socket(server: TidewireServer, vsn: str) -> None:
    """The first hundred topics join, the rest is refused, each with its own answer."""
    async with bystander(server), raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        for number in range(10_000):
            ref = f"j{number}"
            await raw.send([ref, ref, f"realtime:flood-{number}", "phx_join", {"config": {}}])
            if number % 100 == 0:
                await raw.heartbeat()  # read too: who never does is cut off as a slow reader
        async with asyncio.timeout(15):
            replies = [await raw.next("phx_reply") for _ in range(10_000)]
        statuses = {frame[1]: frame[4]["status"] for frame in replies}
        assert len(statuses) == 10_000
        accepted = [ref for ref, status in statuses.items() if status == "ok"]
        assert sorted(accepted) == sorted(f"j{number}" for number in range(100))
        reason = "ChannelRateLimitReached: Too many channels"
        refused = [frame[4]["response"] for frame in replies if frame[4]["status"] == "error"]
        assert all(response == {"reason": reason} for response in refused)


async def test_ten_thousand_joins_of_one_topic_on_one_socket(server: TidewireServer) -> None:
    async with bystander(server), raw_socket(server.url, server.anon_key) as raw:
        for number in range(10_000):
            ref = f"j{number}"
            await raw.send([ref, ref, "realtime:same", "phx_join", {"config": {}}])
            if number % 100 == 0:
                await raw.heartbeat()
        async with asyncio.timeout(15):
            await raw.frames.next(lambda frame: frame[3] == "phx_reply" and frame[1] == "j9999")
        await raw.heartbeat()


async def test_a_join_with_very_many_entries_is_answered(server: TidewireServer) -> None:
    entries = [
        {"event": "*", "schema": "public", "table": f"t{number}", "filter": f"id=eq.{number}"}
        for number in range(5000)
    ]
    async with bystander(server), raw_socket(server.url, server.anon_key) as raw:
        _, reply = await raw.join("realtime:wide", {"postgres_changes": entries})
        assert reply["status"] in ("ok", "error")
        await raw.heartbeat()


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
async def test_very_long_names_are_answered(server: TidewireServer, size: int) -> None:
    long = "x" * size
    async with bystander(server), raw_socket(server.url, server.anon_key) as raw:
        _, reply = await raw.join(f"realtime:{long}")
        assert reply["status"] in ("ok", "error")
        await raw.ask("realtime:y", long, {})
        ref = long
        await raw.send([None, ref, "phoenix", "heartbeat", {}])
        assert (await raw.next("phx_reply"))[1] == ref
        _, reply = await raw.join("realtime:k", {"presence": {"key": long, "enabled": True}})
        assert reply["status"] in ("ok", "error")
        entry = {"event": "*", "schema": long, "table": long, "filter": f"{long}=eq.{long}"}
        _, reply = await raw.join("realtime:e", {"postgres_changes": [entry]})
        await raw.heartbeat()


async def test_a_text_frame_in_binary_and_a_binary_one_in_text_are_dropped(
    server: TidewireServer,
) -> None:
    async with bystander(server), raw_socket(server.url, server.anon_key, vsn="1.0.0") as raw:
        await raw.socket.send(b'{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"b"}')
        await raw.socket.send(b"\x03\x00\x00\x01\x01\x00\x01tex")
        await raw.socket.send("\x03\x00\x00\x01\x01\x00\x01tex")
        await raw.heartbeat()


@BOTH
@pytest.mark.parametrize(
    "event", ["broadcast", "presence", "access_token", "phx_leave", "phx_join"]
)
async def test_wrong_payloads_of_every_event_harm_nothing(
    server: TidewireServer, vsn: str, event: str
) -> None:
    wrong: list[Any] = [None, 7, "text", [], [1], {}, {"event": 7}, {"payload": []}, {"type": None}]
    wrong += [{"access_token": 7}, {"access_token": ["x"]}, {"config": 5}, {"event": "track"}]
    wrong += [{"event": "track", "payload": {"x": float("1e308")}}, {"type": "broadcast"}]
    async with bystander(server), raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        for payload in wrong:
            await raw.join("realtime:wrong", {"broadcast": {"ack": True, "self": True}})
            await raw.push("realtime:wrong", event, payload, join_ref="x")
            await raw.heartbeat()
        assert not raw.closed.is_set()


async def test_connections_that_end_in_the_middle_of_things_leave_nothing_behind(
    server: TidewireServer,
) -> None:
    async with bystander(server):
        for number in range(30):
            async with raw_socket(server.url, server.anon_key) as raw:
                entry = {"event": "*", "schema": "public"}
                config = {"postgres_changes": [entry], "presence": {"key": "k", "enabled": True}}
                for join in range(5):
                    ref = f"r{join}"
                    topic = f"realtime:torn-{number}-{join}"
                    await raw.send([ref, ref, topic, "phx_join", {"config": config}])
                if number % 3:
                    raw.abort()


async def test_garbage_before_the_upgrade_harms_nothing(server: TidewireServer) -> None:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    chance = random.Random(1)
    lines = [
        b"",
        b"\r\n\r\n",
        b"GET",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /realtime/v1/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        b"GET /realtime/v1/websocket HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        chance.randbytes(5000),
    ]
    async with bystander(server):
        for line in lines:
            reader, writer = await asyncio.open_connection(host, int(port))
            with contextlib.suppress(ConnectionError):
                writer.write(line)
                await writer.drain()
                writer.write_eof()
                async with asyncio.timeout(10):
                    await reader.read(100_000)
            writer.close()


KEYS = [
    "config",
    "broadcast",
    "presence",
    "postgres_changes",
    "private",
    "access_token",
    "user_token",
    "ack",
    "self",
    "key",
    "enabled",
    "event",
    "schema",
    "table",
    "filter",
    "select",
    "type",
    "payload",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
EVENTS = st.sampled_from(
    ["phx_join", "phx_leave", "broadcast", "presence", "access_token", "heartbeat", "system"]
)
TOPICS = st.sampled_from(["realtime:fuzz", "realtime:fuzz2", "phoenix", "realtime:", "x"])
FRAMES = st.tuples(JSON, JSON, TOPICS, EVENTS, JSON)


@pytest.mark.timeout(120)
@BOTH
@settings(
    max_examples=int(os.environ.get("TIDEWIRE_FUZZ_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(frames=st.lists(FRAMES, min_size=5, max_size=40))
def test_any_json_in_any_place_is_survived(
    shared_server: TidewireServer, vsn: str, frames: list[tuple[Any, ...]]
) -> None:
    async def run() -> None:
        async with raw_socket(shared_server.url, shared_server.anon_key, vsn=vsn) as raw:
            for frame in frames:
                await send(raw, frame)
            await raw.heartbeat()

    asyncio.run(run())
    shared_server.check_log()


async def send(raw: RawSocket, frame: tuple[Any, ...]) -> None:
    join_ref, ref, topic, event, payload = frame
    if raw.version == 2:
        await raw.socket.send(json.dumps(frame))
        return
    keys = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref}
    await raw.socket.send(json.dumps(keys))
