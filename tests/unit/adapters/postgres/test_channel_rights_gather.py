"""Questions that wait are put together, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.until import until
from tidewire.adapters.postgres.channel_rights.gather import Gatherer
from tidewire.adapters.postgres.query_session import StatementError
from tidewire.core.errors import DatabaseUnavailableError, LimitReachedError
from tidewire.ports.channel_authorizer import ChannelRights, RightsQuestion


def question(name: object) -> RightsQuestion:
    return RightsQuestion(str(name), "anon", "{}")


class Database:
    """Answers with the topic as state; may be held back or fail."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.began_s: list[float] = []

    async def answer(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        self.batches.append([q.topic for q in questions])
        self.began_s.append(asyncio.get_running_loop().time())
        await self.gate.wait()
        if self.error:
            raise self.error
        return [ChannelRights(state=q.topic) for q in questions]


def gatherer(database: Database, otherwise: Gatherer | None = None, **bounds: float) -> Gatherer:
    given = {"batch_max": 4, "waiting_max": 100, "interval_s": 0.0, **bounds}
    return Gatherer(
        database.answer,
        batch_max=int(given["batch_max"]),
        waiting_max=int(given["waiting_max"]),
        interval_s=given["interval_s"],
        otherwise=otherwise,
    )


async def test_what_is_asked_in_one_moment_goes_in_batches_oldest_first() -> None:
    database = Database()
    asked = gatherer(database)
    answers = await asyncio.gather(*[asked.ask([question(n)]) for n in range(10)])
    assert [answer.state for (answer,) in answers] == [str(n) for n in range(10)]
    assert [len(batch) for batch in database.batches] == [4, 4, 2]
    assert (asked.batches, asked.asked) == (3, 10)


async def test_equal_questions_are_asked_once() -> None:
    database = Database()
    asked = gatherer(database)
    await asyncio.gather(*[asked.ask([question("same")]) for _ in range(50)])
    assert database.batches == [["same"]]


async def test_batches_begin_no_faster_than_the_interval() -> None:
    database = Database()
    asked = gatherer(database, interval_s=0.03, batch_max=1)
    await asyncio.gather(*[asked.ask([question(n)]) for n in range(4)])
    gaps = [b - a for a, b in zip(database.began_s, database.began_s[1:], strict=False)]
    assert min(gaps) >= 0.029


async def test_the_first_of_a_quiet_moment_does_not_wait() -> None:
    database = Database()
    asked = gatherer(database, interval_s=1000.0)
    assert await asked.ask([question("first")])
    assert database.batches == [["first"]]


async def test_one_more_than_may_wait_is_refused_and_the_others_are_not() -> None:
    database = Database()
    asked = gatherer(database, waiting_max=2)
    database.gate.clear()
    tasks = [asyncio.create_task(asked.ask([question(n)])) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LimitReachedError):
        await asked.ask([question("more")])
    same = asyncio.create_task(asked.ask([question(1)]))
    database.gate.set()
    assert len(await asyncio.gather(*tasks, same)) == 3


async def test_a_question_nobody_asks_any_more_is_dropped() -> None:
    database = Database()
    asked = gatherer(database, batch_max=1)
    database.gate.clear()
    first, gone, shared, stays = [
        asyncio.create_task(asked.ask([question(n)])) for n in ("first", "gone", "both", "both")
    ]
    await until(lambda: database.batches)
    gone.cancel()
    shared.cancel()
    await asyncio.gather(gone, shared, return_exceptions=True)
    database.gate.set()
    await asyncio.gather(first, stays)
    assert database.batches == [["first"], ["both"]]


async def test_an_error_reaches_all_of_its_batch_and_nobody_later() -> None:
    database = Database()
    asked = gatherer(database)
    database.error = DatabaseUnavailableError("away")
    results = await asyncio.gather(
        *[asked.ask([question(n)]) for n in range(3)], return_exceptions=True
    )
    assert all(isinstance(result, DatabaseUnavailableError) for result in results)
    database.error = None
    assert await asked.ask([question("later")])


async def test_what_is_refused_as_a_whole_is_asked_elsewhere_while_others_go_on() -> None:
    slow, fast = Database(), Database()
    apart = gatherer(slow, batch_max=1)
    asked = gatherer(fast, apart)
    slow.gate.clear()
    fast.error = StatementError("too long")
    waiting = [asyncio.create_task(asked.ask([question(n)])) for n in range(2)]
    await until(lambda: slow.batches)
    fast.error = None
    assert await asked.ask([question("other")]), "not held up"
    slow.gate.set()
    answers = await asyncio.gather(*waiting)
    assert [answer.state for (answer,) in answers] == ["0", "1"]
    assert slow.batches == [["0"], ["1"]]


async def test_at_the_end_whoever_waits_hears_it() -> None:
    database = Database()
    asked = gatherer(database, batch_max=1)
    database.gate.clear()
    tasks = [asyncio.create_task(asked.ask([question(n)])) for n in range(3)]
    await until(lambda: database.batches)
    await asked.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailableError) for result in results)
