"""Too fast: slowed, then refused, always told, never closed; nobody else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.house import Client, House
from tidewire.ports.transport import Refusal

TOPIC = "realtime:room"
TOO_FAST = {
    "extension": "system",
    "status": "ok",
    "message": "Too many messages per second",
    "channel": "room",
    "reason": "MessagePerSecondRateLimitReached",
}


async def joined(house: House, **broadcast: Any) -> Client:
    client = house.connect()
    client.join(TOPIC, {"broadcast": broadcast})
    await house.settle()
    return client


def say(client: Client, number: int, size: int = 0) -> str:
    payload = {"n": number, "filler": "x" * size}
    return client.send(TOPIC, "broadcast", {"type": "broadcast", "event": "e", "payload": payload})


def heard(client: Client) -> list[int]:
    return [payload["payload"]["n"] for payload in client.events("broadcast")]


@pytest.mark.parametrize("scope", ["channel_messages_per_s", "connection_messages_per_s"])
async def test_over_the_limit_a_sender_is_slowed_and_loses_nothing(scope):
    limits: Any = {scope: 10}
    house = House(**limits, burst_s=1)
    sender, other = await joined(house), await joined(house)
    for number in range(15):
        say(sender, number)
    await house.settle()
    assert heard(other) == list(range(15))
    assert sender.transport.held_s == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert sender.events("system") == [TOO_FAST]
    assert house.stats.messages_slowed_total == 5
    assert other.transport.held_s == []
    assert other.events("system") == other.events("phx_close") == []


async def test_what_it_sends_all_the_same_is_refused_and_no_channel_is_closed():
    house = House(channel_messages_per_s=10, burst_s=1)
    sender, other = await joined(house), await joined(house)
    for number in range(100):
        say(sender, number)
    await house.settle()
    assert heard(other) == list(range(21))
    assert house.stats.messages_over_limit_total == 79
    assert sender.events("system") == [TOO_FAST]  # once, not 85 times
    assert sender.events("phx_close") == other.events("phx_close") == []
    sender.transport.last_heard_s += 30
    say(sender, 100)
    await house.settle()
    assert heard(other)[-1] == 100


async def test_it_is_told_once_a_second():
    house = House(channel_messages_per_s=10, burst_s=1)
    sender = await joined(house)
    for _ in range(3):
        for number in range(100):
            say(sender, number)
        sender.transport.last_heard_s += 1.0
    assert sender.events("system") == [TOO_FAST] * 3


async def test_with_ack_what_is_slowed_is_acknowledged_and_what_is_refused_answered():
    house = House(connection_messages_per_s=10, burst_s=1)
    sender = await joined(house, ack=True)
    refs = [say(sender, number) for number in range(25)]
    await house.settle()
    replies = [sender.reply(ref) for ref in refs]
    assert replies[:21] == [{"status": "ok", "response": {}}] * 21
    refused = {"status": "error", "response": {"error": "rate_limit_reached"}}
    assert replies[21:] == [refused] * 4


async def test_bytes_are_limited_too():
    house = House(connection_bytes_per_s=1000, burst_s=1)
    sender, other = await joined(house), await joined(house)
    for number in range(3):
        say(sender, number, size=600)
    await house.settle()
    assert heard(other) == [0, 1, 2]
    assert len(sender.transport.held_s) == 2
    (told,) = sender.events("system")
    assert told["message"] == "Too many bytes per second"


async def test_the_nodes_limit_holds_for_all_together():
    house = House(messages_per_s=10, burst_s=1)
    senders = [await joined(house) for _ in range(3)]
    for number in range(4):
        for sender in senders:
            say(sender, number)
    slowed = [len(sender.transport.held_s) for sender in senders]
    assert sum(slowed) == 2


async def test_unknown_events_and_new_tokens_count_and_heartbeats_do_not():
    house = House(connection_messages_per_s=10, burst_s=1)
    client = await joined(house)
    for _ in range(50):
        client.send("phoenix", "heartbeat", {})
    assert client.transport.held_s == []
    for _ in range(6):
        client.send(TOPIC, "dance", {})
        client.send(TOPIC, "access_token", {"access_token": None})
    assert len(client.transport.held_s) == 2


async def test_no_limit_no_meter():
    house = House(messages_per_s=0, connection_messages_per_s=0, connection_bytes_per_s=0)
    sender = await joined(house)
    for number in range(1000):
        say(sender, number)
    assert sender.transport.held_s == []
    assert sender.connection.meter is None


async def test_joins_over_the_limit_are_refused_with_the_reason_that_supabase_py_waits_for():
    house = House(connection_joins_per_s=2, burst_s=1)
    client, other = house.connect(), house.connect()
    refs = [client.join(f"realtime:r{number}") for number in range(4)]
    await house.settle()
    answers = [client.reply(ref) for ref in refs]
    assert [answer["status"] for answer in answers] == ["ok", "ok", "error", "error"]
    reason = "ClientJoinRateLimitReached: Too many joins per second"
    assert answers[2]["response"] == {"reason": reason}
    assert client.transport.closed_with is None  # the channels it has stay
    assert other.reply(other.join(TOPIC))["status"] == "ok"
    house.clock.advance(1.0)
    assert client.reply(client.join("realtime:r2"))["status"] == "ok"


async def test_when_the_node_has_no_room_for_joins_upgrades_wait_and_are_refused():
    house = House(joins_per_s=2, burst_s=1)
    client = house.connect()
    refs = [client.join(f"realtime:r{number}") for number in range(3)]
    await house.settle()
    assert [client.reply(ref)["status"] for ref in refs] == ["ok", "ok", "error"]
    refusal = house.upgrade(apikey=house.token())
    assert refusal == Refusal(429, b'{"error":"Too many joins per second"}', 1.0)
    house.clock.advance(1.0)
    assert not isinstance(house.upgrade(apikey=house.token()), Refusal)


async def test_one_connection_too_many_waits_and_is_refused():
    house = House(connections_max=1)
    house.connect()
    refusal = house.upgrade(apikey=house.token())
    assert refusal == Refusal(429, b'{"error":"Too many connected users"}', 1.0)
    assert house.upgrade(apikey="bad").delay_s == 1.0  # before any token is looked at


async def test_a_tracked_object_with_too_many_keys_is_refused_and_nothing_closed():
    house = House(presence_keys_max=3)
    client = await joined(house)

    def track(count: int) -> str:
        payload = {f"k{number}": number for number in range(count)}
        return client.send(TOPIC, "presence", {"event": "track", "payload": payload})

    assert client.reply(track(3))["status"] == "ok"
    assert client.reply(track(4)) == {
        "status": "error",
        "response": {"reason": "Presence track payload has too many keys"},
    }
    assert client.events("phx_close") == []


async def test_a_flood_of_tracks_is_answered_with_ok_and_shows_the_newest_in_the_end():
    house = House(channel_presence_per_s=5, burst_s=1)
    client, other = await joined(house), await joined(house)
    refs = [
        client.send(TOPIC, "presence", {"event": "track", "payload": {"n": number}})
        for number in range(100)
    ]
    await house.settle()
    assert all(client.reply(ref) == {"status": "ok", "response": {}} for ref in refs)
    house.clock.advance(1.0)
    house.node.presence.show_waiting()
    await house.settle()
    last = other.events("presence_diff")[-1]["joins"]
    assert [of["metas"][0]["n"] for of in last.values()] == [99]
    assert client.events("phx_close") == []


@pytest.mark.parametrize("scope", ["presence_per_s", "connection_presence_per_s"])
async def test_tracks_are_limited_for_a_connection_and_for_the_node(scope):
    limits: Any = {scope: 3}
    house = House(**limits, channel_presence_per_s=0, burst_s=1)
    client = await joined(house)
    client.join("realtime:two")
    for number in range(4):
        topic = TOPIC if number % 2 else "realtime:two"
        client.send(topic, "presence", {"event": "track", "payload": {"n": number}})
    assert house.stats.tracks_put_off_total == 1
