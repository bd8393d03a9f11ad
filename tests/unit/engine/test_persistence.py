"""Clients' broadcasts that are kept: the queue, and what the sender is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.house import Client, House
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.message import PayloadEncoding
from tidewire.engine import persistence as module
from tidewire.engine.persistence import Persistence
from tidewire.engine.stats import Stats
from tidewire.ports.channel_authorizer import ALL_RIGHTS, Right
from tidewire.ports.message_store import NewMessage, StoredMessage

TOPIC = "realtime:room:1"


class Store:
    """Keeps what it is given once the gate is open."""

    def __init__(self) -> None:
        self.batches: list[list[NewMessage]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.refused: set[str] = set()

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[StoredMessage]:
        return []

    async def insert(self, messages: Sequence[NewMessage]) -> frozenset[str]:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(list(messages))
        return frozenset(m.id for m in messages if m.event not in self.refused)

    async def keep(self, **_: int) -> str:
        raise NotImplementedError


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def stats() -> Stats:
    return Stats()


@pytest.fixture
async def persistence(store: Store, stats: Stats) -> AsyncIterator[Persistence]:
    made = Persistence(store, ManualClock(), stats)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def keep(persistence: Persistence, event: str = "e", body: bytes = b"{}") -> bool:
    return await persistence.keep(
        persistence.new_id(), "room:1", event, body, PayloadEncoding.JSON, ttl_s=60
    )


async def test_what_waits_is_kept_together(persistence: Persistence, store: Store) -> None:
    store.gate.clear()
    asking = [asyncio.create_task(keep(persistence, f"e{number}")) for number in range(250)]
    await asyncio.sleep(0)
    store.gate.set()
    assert await asyncio.gather(*asking) == [True] * 250
    assert [len(batch) for batch in store.batches] == [100, 100, 50]
    assert [m.event for batch in store.batches for m in batch] == [f"e{n}" for n in range(250)]


async def test_one_that_is_refused_harms_no_other(
    persistence: Persistence, store: Store, stats: Stats
) -> None:
    store.refused = {"bad"}
    told = await asyncio.gather(keep(persistence, "good"), keep(persistence, "bad"))
    assert told == [True, False]
    assert (stats.persists_total, stats.persists_failed_total) == (1, 1)


async def test_a_database_that_is_away_is_no_error_of_the_senders(
    persistence: Persistence, store: Store, stats: Stats
) -> None:
    store.error = DatabaseUnavailableError("away")
    assert not await keep(persistence)
    assert stats.persists_failed_total == 1
    store.error = None
    assert await keep(persistence)


@pytest.mark.parametrize("bound", ["QUEUE_MESSAGES_MAX", "QUEUE_BYTES_MAX"])
async def test_a_full_queue_takes_no_more(
    persistence: Persistence,
    store: Store,
    stats: Stats,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
) -> None:
    monkeypatch.setattr(module, bound, 2)
    store.gate.clear()
    first = asyncio.create_task(keep(persistence, body=b"1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first is being written
    waiting = [asyncio.create_task(keep(persistence, body=b"1")) for _ in range(2)]
    await asyncio.sleep(0)
    assert not await keep(persistence, body=b"1")
    assert stats.persists_failed_total == 1
    store.gate.set()
    assert await asyncio.gather(first, *waiting) == [True] * 3


async def test_a_sender_is_answered_in_time_whatever_the_database_does(
    persistence: Persistence, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 0.01)
    store.gate.clear()
    assert not await keep(persistence)


# ------------------------------------------------------------------ pushes of channels


def push(metadata: Any, body: bytes = b'{"x":1}', topic: str = TOPIC) -> bytes:
    fields = [b"j", b"7", topic.encode(), b"e", json.dumps(metadata).encode()]
    return bytes([3, *map(len, fields), 1]) + b"".join(fields) + body


class Pushing:
    """A house with one client in a private room, which asks for acknowledgements."""

    def __init__(self, store: Store, rights: frozenset[Right] = ALL_RIGHTS) -> None:
        self.store = store
        self.house = House(store=store)
        self.house.rules.set_rule(lambda _: rights)
        self.running = asyncio.create_task(self.house.persistence.run())

    async def client(self, *, private: bool = True, ack: bool = True) -> Client:
        client = self.house.connect()
        client.join(TOPIC, {"private": private, "broadcast": {"ack": ack}})
        await self.house.settle()
        return client

    async def send(self, client: Client, metadata: Any) -> list[Any]:
        """The replies to a push."""
        client.connection.message_received(push(metadata), False)
        await self.house.settle()
        return [f[4] for f in client.frames() if f[3] == "phx_reply" and f[1] == "7"]

    @property
    def kept(self) -> list[NewMessage]:
        return [message for batch in self.store.batches for message in batch]

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.house.node.broadcasts.close()


@pytest.fixture
async def pushing(store: Store) -> AsyncIterator[Pushing]:
    made = Pushing(store)
    yield made
    await made.close()


async def test_a_kept_push_is_delivered_and_acknowledged_with_its_id(pushing: Pushing) -> None:
    client, other = await pushing.client(), await pushing.client()
    (reply,) = await pushing.send(client, {"persist": {"ttl": 60}})
    (message,) = pushing.kept
    assert reply == {"status": "ok", "response": {"id": message.id}}
    assert (message.topic, message.body, message.ttl_s) == ("room:1", b'{"x":1}', 60)
    pushing.house.fanout.flush()
    (binary,) = [payload for opcode, payload in other.raw() if opcode == 2]
    assert message.id.encode() in binary


async def test_the_acknowledgement_waits_and_the_delivery_does_not(
    pushing: Pushing, store: Store
) -> None:
    client, other = await pushing.client(), await pushing.client()
    store.gate.clear()
    assert await pushing.send(client, {"persist": True}) == []
    pushing.house.fanout.flush()
    assert [opcode for opcode, _ in other.raw()].count(2) == 1
    store.gate.set()
    await pushing.house.settle()
    assert [f[4]["status"] for f in client.frames() if f[1] == "7"] == ["ok"]


async def test_what_cannot_be_kept_was_delivered_and_is_plain_ok(
    pushing: Pushing, store: Store
) -> None:
    client = await pushing.client()
    store.error = DatabaseUnavailableError("away")
    assert await pushing.send(client, {"persist": True}) == [{"status": "ok", "response": {}}]
    assert pushing.house.stats.broadcasts_total == 1


async def test_a_wrong_time_is_refused_and_nothing_is_sent(pushing: Pushing) -> None:
    client = await pushing.client()
    error = {"status": "error", "response": {"error": "invalid_persist_ttl"}}
    assert await pushing.send(client, {"persist": {"ttl": 0}}) == [error]
    assert pushing.house.stats.broadcasts_total == 0


async def test_without_the_right_of_its_own_nothing_is_kept(store: Store) -> None:
    pushing = Pushing(store, ALL_RIGHTS - {Right.WRITE_PERSISTENCE})
    client = await pushing.client()
    assert await pushing.send(client, {"persist": True}) == [{"status": "ok", "response": {}}]
    assert pushing.kept == []
    await pushing.close()


async def test_on_public_channels_nothing_is_kept(pushing: Pushing) -> None:
    client = await pushing.client(private=False)
    assert await pushing.send(client, {"persist": True}) == [{"status": "ok", "response": {}}]
    assert pushing.kept == []


async def test_without_acknowledgement_it_is_kept_in_the_background(pushing: Pushing) -> None:
    client = await pushing.client(ack=False)
    assert await pushing.send(client, {"persist": True}) == []
    assert len(pushing.kept) == 1
