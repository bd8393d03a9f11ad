import asyncio
import math
import random
from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from tests.support.house import House
from tests.support.until import until
from tidewire.core.errors import DatabaseUnavailableError, SetupError
from tidewire.engine import revocation_watch
from tidewire.engine.revocation_watch import RevocationWatch
from tidewire.engine.revocations import Revocations
from tidewire.ports.revocation_store import Revocation

REVOKED = "Token has been revoked"


class Store:
    """Revocations in memory; a test may hide them or take the store away."""

    def __init__(self) -> None:
        self.items: dict[int, Revocation] = {}
        self.error: Exception | None = None
        self.calls: list[str] = []
        self.finds_before_visible = 0
        self.pruned = asyncio.Event()

    def keep(self, session_id: str) -> bytes:
        number = len(self.items) + 1
        self.items[number] = Revocation(session_id, None, math.inf, math.inf, number)
        return str(number).encode()

    async def load(self) -> Sequence[Revocation]:
        self._called("load")
        return list(self.items.values())

    async def find(self, ids: Collection[int]) -> Sequence[Revocation]:
        self._called("find")
        if self.finds_before_visible:
            self.finds_before_visible -= 1
            return []
        return [self.items[number] for number in ids if number in self.items]

    async def revoke(
        self, *, session_id=None, user_id=None, issued_before_s=None, expires_at_s=None
    ):
        self._called("revoke")
        return self.items[int(self.keep(session_id or ""))]

    async def prune(self) -> int:
        self.pruned.set()
        self._called("prune")
        return 1

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error


class Setting:
    def __init__(self) -> None:
        self.house = House()
        self.store = Store()
        self.revocations = Revocations()
        self.watch = RevocationWatch(
            self.store,
            self.revocations,
            clock=self.house.clock,
            rng=random.Random(1),
            channels=self.house.node.channels,
            shut_down=self.house.node.joins.shut_down,
        )

    def join(self, session_id: str, topic: str = "realtime:x"):
        client = self.house.connect()
        client.join(topic, access_token=self.house.token("authenticated", session_id=session_id))
        return client

    async def until(self, condition) -> None:
        await until(condition)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    made = Setting()
    task = asyncio.create_task(made.watch.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def is_closed(client) -> bool:
    return bool(client.events("phx_close"))


async def test_a_message_closes_the_channels_it_concerns_and_no_other(setting: Setting) -> None:
    ended, other = setting.join("s1"), setting.join("s2")
    setting.watch.on_message(setting.store.keep("s1"))
    await setting.until(lambda: is_closed(ended))
    assert ended.events("system")[0]["message"] == REVOKED
    assert not is_closed(other)
    assert setting.watch._ids == {}


async def test_a_row_that_is_not_visible_yet_is_waited_for(setting: Setting) -> None:
    client = setting.join("s1")
    setting.store.finds_before_visible = 3
    setting.watch.on_message(setting.store.keep("s1"))
    await setting.until(lambda: is_closed(client))


async def test_a_row_that_never_appears_is_given_up(setting: Setting) -> None:
    setting.watch.on_message(b"4711")
    await setting.until(lambda: len(setting.store.calls) > 2)
    setting.house.clock.advance(revocation_watch.VISIBLE_WITHIN_S + 1)
    await setting.until(lambda: not setting.watch._ids)


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"9" * 30, b"1.5", "²".encode()])
async def test_a_message_that_is_no_id_is_ignored(setting: Setting, content: bytes) -> None:
    setting.watch.on_message(content)
    await asyncio.sleep(0)
    assert setting.store.calls == []


async def test_with_too_many_ids_everything_is_read(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_watch, "IDS_MAX", 3)
    client = setting.join("s4")
    for number in range(5):
        setting.watch.on_message(setting.store.keep(f"s{number}"))
    await setting.until(lambda: is_closed(client))
    assert "load" in setting.store.calls


async def test_after_a_gap_everything_is_read(setting: Setting) -> None:
    client = setting.join("s1")
    setting.store.keep("s1")
    setting.store.error = DatabaseUnavailableError("away")
    setting.watch.on_gap()
    await setting.until(lambda: setting.store.calls)
    setting.store.error = None
    await setting.until(lambda: is_closed(client))


async def test_while_the_database_is_away_it_is_asked_again(setting: Setting) -> None:
    client = setting.join("s1")
    setting.store.error = DatabaseUnavailableError("away")
    setting.watch.on_message(setting.store.keep("s1"))
    await setting.until(lambda: len(setting.store.calls) > 2)
    setting.house.clock.advance(60)
    setting.store.error = None
    await setting.until(lambda: is_closed(client))


async def test_what_is_revoked_here_is_in_force_at_once_even_without_a_stream() -> None:
    setting = Setting()
    client = setting.join("s1")
    made = await setting.watch.revoke(session_id="s1")
    assert made.id == 1
    assert is_closed(client)
    assert len(setting.revocations) == 1


async def test_a_database_without_the_table_serves_without_revocations(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.store.error = SetupError("no table", "mend it")
    await setting.watch.load()
    setting.watch.on_message(b"1")
    await setting.until(lambda: not setting.watch._ids)
    assert "tokens cannot be revoked" in caplog.text


async def test_the_past_is_loaded_before_anybody_is_let_in() -> None:
    setting = Setting()
    setting.store.keep("s1")
    await setting.watch.load()
    assert len(setting.revocations) == 1
    setting.store.error = DatabaseUnavailableError("away")
    with pytest.raises(DatabaseUnavailableError):
        await setting.watch.load()


@pytest.mark.parametrize("error", [None, DatabaseUnavailableError("away"), SetupError("none")])
async def test_old_ones_are_pruned_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(revocation_watch, "PRUNE_S", 0.01)
    setting = Setting()
    setting.store.error = error
    task = asyncio.create_task(setting.watch.run())
    async with asyncio.timeout(5):
        await setting.store.pruned.wait()
        setting.store.pruned.clear()
        await setting.store.pruned.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_many_channels_are_ended_in_slices(setting: Setting) -> None:
    clients = [setting.join("s1") for _ in range(600)]
    turns = 0
    setting.watch.on_message(setting.store.keep("s1"))
    while not all(map(is_closed, clients[-1:])):
        await asyncio.sleep(0)
        turns += 1
        assert turns < 10_000
    assert turns >= 600 // revocation_watch.SLICE
    await setting.until(lambda: all(map(is_closed, clients)))
