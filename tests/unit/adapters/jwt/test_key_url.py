import asyncio
import itertools
import random
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import ManualClock
from tests.support.signing_keys import SigningKey, key_set
from tests.support.until import until
from tidewire.adapters.jwt import key_url
from tidewire.adapters.jwt.fetch import FetchError
from tidewire.adapters.jwt.key_url import REFETCH_S, KeyUrl

ONE, TWO = SigningKey("Ed25519", "one"), SigningKey("Ed25519", "two")
URL = "https://user:hush@auth.example/jwks.json?key=hush"


class Address:
    """What answers a fetch, under the test's control. Waiting moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.document: bytes | None = key_set(ONE)
        self.fetched_s: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, url: str, *, deadline_s: float, bytes_max: int) -> bytes:
        self.fetched_s.append(self.clock.monotonic_s())
        await self.gate.wait()
        if self.document is None:
            raise FetchError("away")
        return self.document

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Setting:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.address = Address(self.clock)
        self.source = KeyUrl(
            URL,
            clock=self.clock,
            rng=random.Random(1),
            refresh_s=600,
            stale_s=3600,
            get=self.address.get,
            sleep=self.address.sleep,
        )
        self.changes = 0
        self.source.on_change = self._count

    def _count(self) -> None:
        self.changes += 1

    @property
    def kids(self) -> list[str]:
        return [key.kid for key in self.source.keys]


@pytest.fixture
async def running() -> AsyncIterator[Setting]:
    setting = Setting()
    task = asyncio.create_task(setting.source.run())
    await until(lambda: setting.source.looks)
    yield setting
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_keys_are_fetched_at_the_start(running: Setting) -> None:
    assert (running.kids, running.changes) == (["one"], 1)


async def test_a_look_brings_a_key_made_a_moment_ago(running: Setting) -> None:
    running.address.document = key_set(ONE, TWO)
    await running.source.refresh()
    assert (running.kids, running.changes) == (["one", "two"], 2)


async def test_looks_are_shared_and_begin_some_seconds_apart(running: Setting) -> None:
    for _ in range(3):
        await asyncio.gather(*[running.source.refresh() for _ in range(50)])
    begun_s = running.address.fetched_s
    assert len(begun_s) == 4
    assert all(later - earlier >= REFETCH_S for earlier, later in itertools.pairwise(begun_s))
    assert running.changes == 1, "the same document changes nothing"


async def test_a_look_does_not_wait_without_end(
    running: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_url, "REFRESH_DEADLINE_S", 0.05)
    running.address.gate.clear()
    async with asyncio.timeout(5):
        await running.source.refresh()
    assert running.kids == ["one"]


async def test_beyond_the_bound_of_waiting_callers_nobody_waits(
    running: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_url, "WAITING_MAX", 2)
    running.address.gate.clear()
    waiting = [asyncio.create_task(running.source.refresh()) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await running.source.refresh()
    running.address.gate.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("document", [None, b"{", b"[]"])
async def test_keys_stay_while_the_address_is_away_and_go_after_their_time(
    running: Setting, document: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    running.address.document = document
    running.clock.advance(3590)
    await running.source.refresh()
    assert running.kids == ["one"]
    running.clock.advance(20)
    await running.source.refresh()
    assert running.kids == []
    running.address.document = key_set(ONE)
    await running.source.refresh()
    assert running.kids == ["one"]
    assert "hush" not in caplog.text
    assert all("hush" not in str(vars(record)) for record in caplog.records)


async def test_a_good_answer_without_news_keeps_the_keys_alive(running: Setting) -> None:
    for _ in range(5):
        running.clock.advance(3000)
        await running.source.refresh()
        assert running.kids == ["one"]


async def test_after_a_failure_it_is_tried_again_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_url, "RETRY_MIN_S", 0.01)
    setting = Setting()
    setting.address.document = None
    task = asyncio.create_task(setting.source.run())
    await until(lambda: len(setting.address.fetched_s) >= 3)
    setting.address.document = key_set(ONE)
    await until(lambda: setting.kids == ["one"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
