from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.journal import JournalFolder, journal_folder, lsns
from tests.support.transactions import at, transaction
from tests.support.until import until
from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn
from tidewire.engine.recorder import Recorder


class Router:
    """Remembers what it is called with; routes when its gate is open."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        self.seen += [int(item.commit_lsn) for item in transactions]
        await self.gate.wait()

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        self.seen.append((epoch, is_new_epoch))

    async def on_down(self, reason: str) -> None:
        self.seen.append(reason)


class Told:
    """What the database was allowed to forget."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, epoch: str, lsn: Lsn) -> None:
        self.calls.append((epoch, int(lsn)))

    @property
    def last(self) -> tuple[str, int]:
        return self.calls[-1] if self.calls else ("", 0)


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncGenerator[None]:
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until_told(told: Told, wanted: tuple[str, int]) -> None:
    await until(lambda: told.last == wanted)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[JournalFolder]:
    async with journal_folder(tmp_path / "journal") as folder:
        yield folder


@pytest.fixture
async def router() -> Router:
    return Router()


@pytest.fixture
def told() -> Told:
    return Told()


async def make(folder: JournalFolder, router: Router, told: Told) -> Recorder:
    recorder = Recorder(await folder.open(), router, sync_interval_s=0.001)
    recorder.listen(told)
    await recorder.begin("e1", start=Lsn(1))
    return recorder


async def test_what_is_routed_is_in_the_journal(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    await recorder.on_live("e1", is_new_epoch=True)
    router.gate.clear()
    routing = asyncio.create_task(recorder.receive([transaction(10)]))
    await until(lambda: 10 in router.seen)
    assert recorder.journal.last == at(10)
    router.gate.set()
    await routing
    await recorder.on_down("gone")
    assert router.seen == [("e1", True), 10, "gone"]


async def test_nothing_may_be_forgotten_before_it_is_durable(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    async with running(recorder):
        await recorder.receive([transaction(10)])
        recorder.keep(Lsn(15))
        await until_told(told, ("e1", 15))
        folder.files.gate.clear()
        await recorder.receive([transaction(20)])
        recorder.keep(Lsn(25))
        await until(lambda: folder.opened[-1]._disk._running)
        assert told.last == ("e1", 15)
        folder.files.gate.set()
        await until_told(told, ("e1", 25))


async def test_nothing_may_be_forgotten_before_it_was_routed(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    async with running(recorder):
        router.gate.clear()
        routing = asyncio.create_task(recorder.receive([transaction(10)]))
        await until(lambda: recorder.journal.durable >= 15)
        assert told.last[1] <= 1
        router.gate.set()
        await routing
        recorder.keep(Lsn(15))
        await until_told(told, ("e1", 15))


async def test_an_idle_stream_is_kept_and_forgotten_too(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    async with running(recorder):
        recorder.keep(Lsn(5000))
        await until_told(told, ("e1", 5000))
    folder.kill(folder.opened[-1])
    again = await folder.begin(start=5000)
    assert again.floor == at(0)


async def test_a_full_disk_holds_nothing_back(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    folder.files.failing.add("write")
    async with running(recorder):
        for lsn in (10, 20, 30):
            await recorder.receive([transaction(lsn)])
            recorder.keep(Lsn(lsn + 5))
            await until_told(told, ("e1", lsn + 5))
    assert router.seen == [10, 20, 30]
    assert recorder.journal.status.alarm


async def test_much_that_waits_is_synced_before_more_is_taken(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    journal = await folder.begin(unsynced_bytes=1000)
    recorder = Recorder(journal, router)
    await recorder.receive([transaction(10, size=2000)])
    assert journal.durable == 15


async def test_what_comes_again_is_kept_once_and_routed_again(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    """Nobody knows whether the process that kept it had routed it, when it was killed."""
    recorder = await make(folder, router, told)
    await recorder.receive([transaction(10), transaction(20)])
    await recorder.journal.sync()
    folder.kill(folder.opened[-1])
    again = Recorder(await folder.open(), router)
    again.listen(told)
    await again.begin("e1", start=Lsn(15))
    router.seen.clear()
    await again.receive([transaction(20), transaction(30)])
    assert router.seen == [20, 30]
    assert again.repeated == 1
    assert await lsns(folder.opened[-1]) == [10, 20, 30]


async def test_an_epoch_begins_with_its_own_count(
    folder: JournalFolder, router: Router, told: Told
) -> None:
    recorder = await make(folder, router, told)
    async with running(recorder):
        recorder.keep(Lsn(9000))
        await until_told(told, ("e1", 9000))
        await recorder.begin("e2", start=Lsn(50))
        told.calls.clear()
        recorder.keep(Lsn(60))
        await until_told(told, ("e2", 60))
    assert all(call[1] <= 60 for call in told.calls if call[0] == "e2")
