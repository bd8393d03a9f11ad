"""Replays and late messages, on a node without sockets or database."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from tests.support.house import Client, House
from tests.support.until import until
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.message import Message, PayloadEncoding
from tidewire.engine.history import BACKLOG_MESSAGES_MAX
from tidewire.ports.channel_authorizer import Right
from tidewire.ports.message_store import NewMessage, StoredMessage
from tidewire.protocol.phoenix.payloads import row_meta

TOPIC, SUB_TOPIC = "realtime:room:1", "room:1"
KEY = "default:private:room:1"


class GatedStore:
    """A store whose answer waits until a test lets it go."""

    def __init__(self) -> None:
        self.messages: list[StoredMessage] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[str, int, int]] = []
        self.error: Exception | None = None

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[StoredMessage]:
        self.asked.append((topic, since_ms, limit))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.messages

    async def insert(self, messages: Any) -> frozenset[str]:
        raise NotImplementedError

    async def keep(self, **_: int) -> str:
        raise NotImplementedError


@pytest.fixture
async def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
async def house(store: GatedStore) -> House:
    return House(store=store)


def stored(
    number: int, encoding: PayloadEncoding = PayloadEncoding.JSON, body: bytes = b""
) -> StoredMessage:
    return StoredMessage(
        str(uuid.UUID(int=number)), f"e{number}", body or b'{"n": %d}' % number, encoding
    )


def live(number: int) -> Message:
    row = stored(number)
    return Message(KEY, row.event, row.body, meta=row_meta(row.id), row_id=row.id)


async def joined(
    house: House, replay: Any, *, vsn: str = "1.0.0", **config: Any
) -> tuple[Client, str]:
    client = house.connect(vsn, token=house.token("service_role"))
    broadcast = {} if replay is None else {"replay": replay}
    ref = client.join(TOPIC, {"private": True, "broadcast": broadcast, **config})
    await house.settle()
    return client, ref


def events(client: Client) -> list[str]:
    client.house.fanout.flush()
    return [payload["event"] for payload in client.events("broadcast")]


async def test_replayed_messages_follow_the_answer_and_the_presence_state_oldest_first(
    house: House, store: GatedStore
) -> None:
    store.messages = [stored(1), stored(2)]
    client, ref = await joined(house, {"since": 5, "limit": 7}, presence={"enabled": True})
    assert store.asked == [(SUB_TOPIC, 5, 7)]
    assert [frame[3] for frame in client.frames()] == [
        "phx_reply",
        "presence_state",
        "broadcast",
        "broadcast",
    ]
    assert client.reply(ref)["status"] == "ok"
    assert client.events("broadcast")[0] == {
        "event": "e1",
        "payload": {"n": 1},
        "type": "broadcast",
        "meta": {"id": str(uuid.UUID(int=1)), "replayed": True},
    }


async def test_at_serializer_2_a_replayed_message_bears_the_join_ref(
    house: House, store: GatedStore
) -> None:
    store.messages = [stored(1)]
    client, _ = await joined(house, {}, vsn="2.0.0")
    (frame,) = [frame for frame in client.frames() if frame[3] == "broadcast"]
    assert frame[:3] == ["j", None, TOPIC]


async def test_replayed_bytes_are_a_binary_frame_and_nothing_at_serializer_1(
    house: House, store: GatedStore
) -> None:
    store.messages = [stored(1, PayloadEncoding.BINARY, b"\x00\xff"), stored(2)]
    new, _ = await joined(house, {}, vsn="2.0.0")
    old, _ = await joined(house, {}, vsn="1.0.0")
    (binary,) = [payload for opcode, payload in new.raw() if opcode == 2]
    assert binary.endswith(b'"replayed":true}\x00\xff')
    assert events(old) == ["e2"]


@pytest.mark.parametrize(("asked", "limit"), [(0, 1), (-5, 1), (25, 25), (26, 25), (10**30, 25)])
async def test_the_limit_is_clamped(
    house: House, store: GatedStore, asked: int, limit: int
) -> None:
    await joined(house, {"limit": asked})
    assert store.asked == [(SUB_TOPIC, 0, limit)]


async def test_without_numbers_ten_since_ever(house: House, store: GatedStore) -> None:
    await joined(house, {})
    assert store.asked == [(SUB_TOPIC, 0, 10)]


@pytest.mark.parametrize("replay", [{"since": "1"}, {"limit": 1.5}, {"since": True}, [], "x", 7])
async def test_a_replay_of_anything_but_whole_numbers_refuses_the_join(
    house: House, replay: Any
) -> None:
    client, ref = await joined(house, replay)
    reason = "UnableToReplayMessages: Replay params are not valid"
    assert client.reply(ref) == {"status": "error", "response": {"reason": reason}}


async def test_a_replay_on_a_public_channel_refuses_the_join(house: House) -> None:
    client = house.connect()
    ref = client.join(TOPIC, {"broadcast": {"replay": {"since": 0}}})
    reason = "UnableToReplayMessages: Replay is not allowed for public channels"
    assert client.reply(ref) == {"status": "error", "response": {"reason": reason}}


async def test_a_store_that_does_not_answer_refuses_the_join(
    house: House, store: GatedStore
) -> None:
    store.error = DatabaseUnavailableError("away")
    client, ref = await joined(house, {})
    reason = "UnableToReplayMessages: Realtime was unable to replay messages"
    assert client.reply(ref) == {"status": "error", "response": {"reason": reason}}


async def test_what_is_sent_while_the_store_is_read_comes_behind_it_once(
    house: House, store: GatedStore
) -> None:
    store.gate.clear()
    store.messages = [stored(1), stored(2)]
    client, _ = await joined(house, {})
    house.broker.publish(live(2))
    house.broker.publish(live(3))
    house.broker.publish(Message(KEY, "no row", b"{}"))
    store.gate.set()
    await house.settle()
    assert events(client) == ["e1", "e2", "e3"]


async def test_a_live_copy_of_a_replayed_row_is_withheld_from_that_channel_only(
    house: House, store: GatedStore
) -> None:
    store.messages = [stored(1)]
    client, _ = await joined(house, {})
    other, _ = await joined(house, None)
    house.broker.publish(live(0))
    house.broker.publish(live(1))
    house.broker.publish(live(2))
    assert events(client) == ["e1", "e0", "e2"]
    assert events(other) == ["e0", "e1", "e2"]


async def test_a_channel_that_joins_again_hears_rows_that_another_was_replayed(
    house: House, store: GatedStore
) -> None:
    store.messages = [stored(1)]
    client, _ = await joined(house, {})
    store.messages = []
    client.join(TOPIC, {"private": True})
    await house.settle()
    house.broker.publish(live(1))
    assert events(client) == ["e1", "e1"]
    assert not house.history._replayed


async def test_more_than_can_be_noted_refuses_the_join_rather_than_leave_a_gap(
    house: House, store: GatedStore
) -> None:
    store.gate.clear()
    client, ref = await joined(house, {})
    for number in range(BACKLOG_MESSAGES_MAX + 1):
        house.broker.publish(live(number))
    store.gate.set()
    await house.settle()
    assert client.reply(ref)["status"] == "error"
    assert not house.history._reading


@pytest.mark.parametrize("way", ["leave", "end", "join"])
async def test_a_join_that_is_given_up_notes_nothing_more(
    house: House, store: GatedStore, way: str
) -> None:
    store.gate.clear()
    client, _ = await joined(house, {})
    if way == "leave":
        client.send(TOPIC, "phx_leave", {})
    elif way == "end":
        client.end(1006)
    else:
        client.join(TOPIC)
    await house.settle()
    assert not house.history._reading


async def test_late_rows_are_given_to_those_who_come_back_in_time(house: House) -> None:
    started_s = house.clock.wall_s()
    house.history.hold(live(1), started_s - 1)
    house.history.hold(live(2), started_s + 1)
    client, _ = await joined(house, None)
    assert events(client) == ["e1"]
    house.clock.advance(house.late_hold_s)
    after, _ = await joined(house, None)
    assert events(after) == []
    house.history.hold(live(3), started_s - 1)
    assert not house.history._late


async def test_late_rows_go_to_their_own_room(house: House) -> None:
    house.history.hold(live(1), 0)
    client = house.connect()
    client.join(TOPIC)
    assert events(client) == []


async def test_a_late_row_that_was_replayed_is_given_once(house: House, store: GatedStore) -> None:
    store.messages = [stored(1)]
    house.history.hold(live(1), 0)
    house.history.hold(live(2), 0)
    client, _ = await joined(house, {})
    assert [json.dumps(p["meta"].get("replayed")) for p in client.events("broadcast")] == [
        "true",
        "null",
    ]
    assert events(client) == ["e1", "e2"]


async def test_who_may_not_hear_broadcasts_is_given_none_of_the_past(
    house: House, store: GatedStore
) -> None:
    house.rules.set_rule(lambda _: frozenset({Right.READ_PRESENCE}))
    store.messages = [stored(1)]
    house.history.hold(live(2), 0)
    client, ref = await joined(house, {}, presence={"enabled": True})
    assert client.reply(ref)["status"] == "ok"
    house.broker.publish(live(3))
    assert events(client) == []
    assert store.asked == []


async def test_late_rows_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.engine.history.LATE_MESSAGES_MAX", 3)
    for number in range(5):
        house.history.hold(live(number), 0)
    client, _ = await joined(house, None)
    assert events(client) == ["e2", "e3", "e4"]


def test_the_message_of_a_client_and_the_row_it_becomes_have_one_id() -> None:
    row = NewMessage("i", "t", "e", b"{}", PayloadEncoding.JSON, 0.0, 1)
    assert json.loads(row_meta(row.id)) == {"id": "i"}


async def test_a_stream_that_does_not_come_closes_the_channel_that_waits_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.engine.join.REPLICATION_DEADLINE_S", 0.01)
    house.router.live.clear()
    client = house.connect()
    client.join(TOPIC, {"broadcast": {"replication_ready": True}})
    await until(lambda: client.events("phx_close"))
    (message,) = client.events("system")
    assert message["message"] == "Replication connection was not established in time"
    assert message["status"] == "error"
