"""What every message store promises."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tidewire.adapters.memory.message_store import MemoryMessageStore
from tidewire.adapters.postgres.message_store import PostgresMessageStore
from tidewire.core.message import PayloadEncoding
from tidewire.ports.message_store import MessageStore, NewMessage
from tidewire.server.clock import SystemClock

HOUR_S = 3600


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[MessageStore]:
    if request.param == "memory":
        yield MemoryMessageStore(SystemClock())
        return
    cluster = request.getfixturevalue("postgres_cluster")
    name = await cluster.create_migrated_database()
    made = PostgresMessageStore(cluster.url_of(name))
    yield made
    await made.close()
    await cluster.drop_database(name)


def message(number: int = 0, *, age_s: float = 0, **more: Any) -> NewMessage:
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "topic": "room:1",
        "event": f"e{number}",
        "body": json.dumps({"n": number}).encode(),
        "encoding": PayloadEncoding.JSON,
        "sent_at_s": time.time() - age_s,
        "ttl_s": HOUR_S,
    }
    return NewMessage(**{**values, **more})


async def events(store: MessageStore, *, since_ms: int = 0, limit: int = 25) -> list[str]:
    return [m.event for m in await store.recent("room:1", since_ms=since_ms, limit=limit)]


async def test_the_newest_come_back_oldest_first(store: MessageStore) -> None:
    kept = [message(number, age_s=10 - number) for number in range(5)]
    assert await store.insert(kept) == {m.id for m in kept}
    assert await events(store) == ["e0", "e1", "e2", "e3", "e4"]
    assert await events(store, limit=2) == ["e3", "e4"]


async def test_since_cuts_off_what_is_older(store: MessageStore) -> None:
    await store.insert([message(1, age_s=100), message(2, age_s=10)])
    assert await events(store, since_ms=int((time.time() - 50) * 1000)) == ["e2"]
    assert await events(store, since_ms=2**62) == []
    assert await events(store, since_ms=-(2**62)) == ["e1", "e2"]


async def test_what_has_expired_does_not_come_back(store: MessageStore) -> None:
    await store.insert([message(1, age_s=100, ttl_s=99), message(2, age_s=100, ttl_s=200)])
    assert await events(store) == ["e2"]


async def test_topics_are_apart(store: MessageStore) -> None:
    await store.insert([message(1, topic="room:2"), message(2)])
    assert await events(store) == ["e2"]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\x00\xff\\", PayloadEncoding.BINARY),
        (b"", PayloadEncoding.BINARY),
        ('{"t": "ü🚆\\""}'.encode(), PayloadEncoding.JSON),
        (b"[1, null]", PayloadEncoding.JSON),
        (b'"text"', PayloadEncoding.JSON),
    ],
)
async def test_payloads_come_back_as_they_were(
    store: MessageStore, body: bytes, encoding: PayloadEncoding
) -> None:
    kept = message(body=body, encoding=encoding)
    await store.insert([kept])
    (found,) = await store.recent("room:1", since_ms=0, limit=1)
    assert (found.id, found.event, found.encoding) == (kept.id, kept.event, encoding)
    if encoding is PayloadEncoding.JSON:
        assert json.loads(found.body) == json.loads(body)
    else:
        assert found.body == body


async def test_one_that_cannot_be_kept_harms_no_other(store: MessageStore) -> None:
    kept = [message(1), message(2, body=b'{"x":"\\u0000"}'), message(3)]
    assert await store.insert(kept) == {kept[0].id, kept[2].id}
    assert set(await events(store)) == {"e1", "e3"}


async def test_looking_after_them_may_be_repeated(store: MessageStore) -> None:
    await store.insert([message(1)])
    for _ in range(2):
        assert await store.keep(retention_days=3, payload_bytes_max=1_000_000)
    assert await events(store) == ["e1"]
