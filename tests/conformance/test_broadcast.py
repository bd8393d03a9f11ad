"""Broadcast between clients of both serializers. Source: wire specification 2.3, 2.4, 4."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import (
    binary_broadcast_push,
    raw_socket,
    read_binary_broadcast,
)
from tests.support.server import TidewireServer
from tests.support.stock import StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import unused_name

SELF = {"broadcast": {"self": True, "ack": True}}
KINDS = ("js2", "js1", "py")


async def make_client(kind: str, server: TidewireServer, js: StockJs) -> StockClient:
    if kind == "py":
        return PyClient(server.url, server.anon_key)
    return await js.client(server.url, server.anon_key, vsn=f"{kind[2]}.0.0")


@pytest.mark.parametrize("receiver", KINDS)
@pytest.mark.parametrize("sender", KINDS)
async def test_a_broadcast_reaches_every_kind_of_client_in_order(
    server: TidewireServer, js: StockJs, sender: str, receiver: str
) -> None:
    topic = unused_name("room")
    clients = [await make_client(kind, server, js) for kind in (sender, receiver)]
    sending, receiving = [await client.channel(topic) for client in clients]
    await sending.subscribe()
    await receiving.subscribe()
    payloads = [{"n": n, "text": 'ü"\\\n🚆', "deep": {"list": [1, None, 1.5]}} for n in range(20)]
    for payload in payloads:
        assert await sending.send("cursor", payload) == "ok"
    for payload in payloads:
        got = await receiving.broadcasts.next()
        assert got["payload"] == payload
        assert got["event"] == "cursor"
    assert not sending.broadcasts.items, "self is off"
    for client in clients:
        await client.close()


async def test_self_delivers_to_the_sender_too(stock: MakeClient) -> None:
    channel = await (await stock()).channel(unused_name("room"), config=SELF)
    await channel.subscribe()
    assert await channel.send("e", {"x": 1}) == "ok"
    assert await channel.broadcasts.next() == {"event": "e", "payload": {"x": 1}}


async def test_another_socket_of_the_same_user_receives_when_self_is_off(
    stock: MakeClient,
) -> None:
    topic = unused_name("room")
    first, second = [await (await stock()).channel(topic) for _ in range(2)]
    await first.subscribe()
    await second.subscribe()
    await first.send("e", {"x": 1})
    assert (await second.broadcasts.next())["payload"] == {"x": 1}


async def test_topics_are_apart(stock: MakeClient) -> None:
    client = await stock()
    here = await client.channel(unused_name("here"), config=SELF)
    there = await client.channel(unused_name("there"), config=SELF)
    await here.subscribe()
    await there.subscribe()
    await here.send("e", {"at": "here"})
    await there.send("e", {"at": "there"})
    assert (await there.broadcasts.next())["payload"] == {"at": "there"}
    assert (await here.broadcasts.next())["payload"] == {"at": "here"}
    assert not there.broadcasts.items


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_an_acknowledged_send_resolves_ok(
    server: TidewireServer, js: StockJs, vsn: str
) -> None:
    client = await js.client(server.url, server.anon_key, vsn=vsn)
    channel = await client.channel(unused_name("room"), config={"broadcast": {"ack": True}})
    await channel.subscribe()
    async with asyncio.timeout(3):
        assert await channel.send("e", {"x": 1}) == "ok"


@pytest.mark.parametrize("body", [b"\x01\x02\xff", b"", bytes(range(256)) * 300, b'{"not":"json"'])
async def test_binary_payloads_arrive_byte_for_byte_and_only_at_2_0_0(
    server: TidewireServer, js: StockJs, body: bytes
) -> None:
    topic = unused_name("room")
    channels = []
    for vsn in ("2.0.0", "2.0.0", "1.0.0"):
        channel = await (await js.client(server.url, server.anon_key, vsn=vsn)).channel(topic)
        await channel.subscribe()
        channels.append(channel)
    sender, receiver, old = channels
    assert await sender.send("bytes", body) == "ok"
    assert await sender.send("after", {"x": 1}) == "ok"
    assert await receiver.broadcasts.next() == {"event": "bytes", "payload": body}
    assert (await old.broadcasts.next())["event"] == "after"
    assert not old.broadcasts.items


@pytest.mark.parametrize("payload", [[1, "two", None], "text", 7, None, True, {}, {"a": {"b": []}}])
async def test_any_json_payload_passes_between_supabase_js_clients(
    server: TidewireServer, js: StockJs, payload: Any
) -> None:
    topic = unused_name("room")
    sender = await (await js.client(server.url, server.anon_key)).channel(topic)
    receivers = [
        await (await js.client(server.url, server.anon_key, vsn=vsn)).channel(topic)
        for vsn in ("1.0.0", "2.0.0")
    ]
    for channel in (sender, *receivers):
        await channel.subscribe()
    await sender.send("any", payload)
    for receiver in receivers:
        got = await receiver.broadcasts.next()
        assert got["payload"] == ({} if payload is None else payload)


async def test_a_text_push_goes_out_verbatim_to_both_serializers(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    payload = {"type": "broadcast", "event": "e", "payload": {"x": 1.50}, "extra": {"kept": [1]}}
    async with (
        raw_socket(server.url, server.anon_key) as sender,
        raw_socket(server.url, server.anon_key, vsn="2.0.0") as new,
        raw_socket(server.url, server.anon_key, vsn="1.0.0") as old,
    ):
        for raw in (sender, new, old):
            await raw.join(topic)
        await sender.push(topic, "broadcast", payload)
        for raw in (new, old):
            assert await raw.next("broadcast") == [None, None, topic, "broadcast", payload]
        assert json.dumps(payload) in new.raw[-1] or json.loads(new.raw[-1])[4] == payload


async def test_a_binary_push_arrives_as_kind_4_and_as_json_at_1_0_0(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('room')}"
    body = b'{"x" : 1,  "y":[ ]}'
    async with (
        raw_socket(server.url, server.anon_key) as sender,
        raw_socket(server.url, server.anon_key) as new,
        raw_socket(server.url, server.anon_key, vsn="1.0.0") as old,
    ):
        join_ref, _ = await sender.join(topic, {"broadcast": {"ack": True}})
        await new.join(topic)
        await old.join(topic)
        frame = binary_broadcast_push(join_ref, "77", topic, "e1", body, encoding=1)
        await sender.socket.send(frame)
        ack = await sender.next("phx_reply")
        assert ack == [join_ref, "77", topic, "phx_reply", {"status": "ok", "response": {}}]
        got = await new.frames.next(lambda item: isinstance(item, bytes))
        assert read_binary_broadcast(got) == (topic, "e1", b"", 1, body)
        text = {"type": "broadcast", "event": "e1", "payload": {"x": 1, "y": []}}
        assert (await old.next("broadcast"))[4] == text


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x03",
        b"\x03\x01\x01\x01",
        b"\x00\x01\x01\x01abc",
        b"\x04\x01\x01\x00\x01abc",
        b"\x03\xff\xff\xff\xff\xff\x01",
        b"\x03\x00\x00\x02\x01\x00\x07xxe{}",
        b"\x03\x00\x00\x02\x01\x00\x01\xff\xfee{}",
        b"\x03\x00\x00\x10\x01\x00\x01realtime:vandalsenot json",
        b"\xff" * 300,
    ],
)
async def test_broken_binary_frames_are_dropped_and_the_socket_stays(
    server: TidewireServer, frame: bytes
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:vandals", {"broadcast": {"self": True}})
        await raw.socket.send(frame)
        await raw.heartbeat()
        assert not [item for item in raw.frames.items if isinstance(item, bytes)]


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_a_payload_above_the_limit_is_told_to_the_sender_and_sent_to_nobody(
    server: TidewireServer, vsn: str
) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key, vsn=vsn) as sender,
        raw_socket(server.url, server.anon_key) as other,
    ):
        await sender.join(topic, {"broadcast": {"ack": True}})
        await other.join(topic)
        large = {"type": "broadcast", "event": "e", "payload": {"x": "x" * 3_200_000}}
        reply = await sender.ask(topic, "broadcast", large)
        assert reply == {"status": "error", "response": {"error": "payload_size_exceeded"}}
        small = {"type": "broadcast", "event": "e", "payload": {"x": 1}}
        assert (await sender.ask(topic, "broadcast", small))["status"] == "ok"
        assert (await other.next("broadcast"))[4] == small


async def test_public_and_private_channels_of_one_name_are_apart_or_refused(
    server: TidewireServer,
) -> None:
    """Without a policy a private channel is refused; its room leaks nothing either way."""
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as public,
        raw_socket(server.url, server.anon_key) as private,
    ):
        await public.join(topic, {"broadcast": {"self": True}})
        _, reply = await private.join(topic, {"private": True})
        if reply["status"] == "error":
            assert reply["response"]["reason"].startswith("Unauthorized: ")
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        await public.push(topic, "broadcast", payload)
        await public.next("broadcast")
        await private.heartbeat()
        assert not [frame for frame in private.frames.items if frame[3] == "broadcast"]


async def test_a_hundred_receivers_each_get_each_message_once_and_in_order(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('crowd')}"
    async with asyncio.timeout(15), raw_socket(server.url, server.anon_key) as sender:
        await sender.join(topic)
        crowd = [raw_socket(server.url, server.anon_key) for _ in range(100)]
        raws = await asyncio.gather(*(member.__aenter__() for member in crowd))
        try:
            await asyncio.gather(*(raw.join(topic) for raw in raws))
            for number in range(50):
                payload = {"type": "broadcast", "event": "e", "payload": {"n": number}}
                await sender.push(topic, "broadcast", payload)
            for raw in raws:
                frames = [await raw.next("broadcast") for _ in range(50)]
                assert [frame[4]["payload"]["n"] for frame in frames] == list(range(50))
            await asyncio.gather(*(raw.heartbeat() for raw in raws))
            assert not [raw for raw in raws if raw.frames.items]
        finally:
            await asyncio.gather(*(member.__aexit__(None, None, None) for member in crowd))
