"""What a stream acknowledges, with a keeper that a test moves by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.stream import RecordingSink
from tidewire.adapters.postgres.delivery import Delivery
from tidewire.adapters.postgres.stream import Progress, Stream
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.assemble import Assembler
from tidewire.protocol.pgwire.events import Keepalive


class Keeper:
    """Agrees to nothing by itself."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.begun: list[tuple[str, int]] = []
        self.agree: Callable[[str, Lsn], None] = lambda _epoch, _lsn: None

    def listen(self, on_durable: Callable[[str, Lsn], None]) -> None:
        self.agree = on_durable

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        self.begun.append((epoch, start))

    def keep(self, lsn: Lsn) -> None:
        self.kept.append(lsn)


class Connection:
    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def acknowledge(self, lsn: Lsn) -> None:
        self.acknowledged.append(lsn)


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


def make(keeper: Keeper | None, *, start: int) -> tuple[Stream, Connection, Progress]:
    connection: Any = Connection()
    progress = Progress(Lsn(start))
    delivery = Delivery(RecordingSink(), keeper, pending_bytes_max=1000)
    stream = Stream(connection, delivery, progress, Assembler(), epoch="e2", is_new_epoch=False)
    delivery.observer = stream
    return stream, connection, progress


async def test_an_idle_stream_waits_for_its_keeper(keeper: Keeper) -> None:
    stream, connection, progress = make(keeper, start=50)
    stream.stream_received([Keepalive(Lsn(300), False)])
    assert keeper.kept == [300]
    assert connection.acknowledged == []
    keeper.agree("e2", Lsn(200))
    assert connection.acknowledged == [200]
    assert progress.acknowledged == 200


async def test_what_was_kept_of_a_former_history_says_nothing_of_this_one(keeper: Keeper) -> None:
    _, connection, progress = make(keeper, start=50)
    keeper.agree("e1", Lsn(9_000))
    assert connection.acknowledged == []
    assert progress.acknowledged == 50


async def test_without_a_keeper_what_was_taken_is_acknowledged_at_once() -> None:
    stream, connection, _ = make(None, start=50)
    stream.stream_received([Keepalive(Lsn(300), False)])
    stream.delivered(Lsn(400))
    assert connection.acknowledged == [300, 400]
