"""Puts questions that wait at the same time together, so that few statements answer many.

Theory of operation. A question waits until the pump takes it. The pump takes what waits, oldest
first, up to a batch; statements begin at most once in `interval_s`, and meanwhile questions
gather. So the first question of a quiet moment is asked at once, and a thousand together cost a
few statements. Equal questions that wait are asked once. One whose askers have all gone is
dropped. A batch that PostgreSQL refuses as a whole is handed to another gatherer, which may take
its time: this one goes on with others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from tidewire.adapters.postgres.query_session import StatementError
from tidewire.core.errors import DatabaseUnavailableError, LimitReachedError
from tidewire.ports.channel_authorizer import ChannelRights, RightsQuestion

Answer = Callable[[Sequence[RightsQuestion]], Awaitable[list[ChannelRights]]]


class _Waiting(msgspec.Struct):
    """A question that waits.

    Attributes:
        answer: What its askers await.
        askers: How many still do.
    """

    answer: asyncio.Future[ChannelRights]
    askers: int = 0


class Gatherer:
    """Waiting questions, and the pump that has them answered."""

    def __init__(
        self,
        answer: Answer,
        *,
        batch_max: int,
        waiting_max: int,
        interval_s: float,
        otherwise: Gatherer | None = None,
    ) -> None:
        """Make it; the pump runs only while something waits.

        Args:
            answer: Answers a batch.
            batch_max: Questions of one batch.
            waiting_max: Different questions that may wait; one more is refused.
            interval_s: Seconds between the beginnings of two batches, at least.
            otherwise: Gets the batches that PostgreSQL refuses.
        """
        self._answer = answer
        self._otherwise = otherwise
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._interval_s = interval_s
        self._waiting: dict[RightsQuestion, _Waiting] = {}
        self._pump: asyncio.Task[None] | None = None
        self._began_s = float("-inf")
        self.batches = 0
        self.asked = 0

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        """Wait for the answers. When cancelled, what nobody else asks is dropped.

        Raises:
            LimitReachedError: Too many wait; nothing of this call is asked.
            DatabaseUnavailableError: The database gave no answer.
        """
        new = sum(question not in self._waiting for question in questions)
        if len(self._waiting) + new > self._waiting_max:
            raise LimitReachedError("too many questions about rights wait")
        entries = [self._enter(question) for question in questions]
        try:
            return [await asyncio.shield(entry.answer) for entry in entries]
        finally:
            for question, entry in zip(questions, entries, strict=True):
                entry.askers -= 1
                if not entry.askers and self._waiting.get(question) is entry:
                    del self._waiting[question]

    async def close(self) -> None:
        """End the pump; whoever waits hears that there is no answer."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        error = DatabaseUnavailableError("the server stops")
        for entry in self._waiting.values():
            _fail(entry, error)
        self._waiting.clear()

    def _enter(self, question: RightsQuestion) -> _Waiting:
        entry = self._waiting.get(question)
        if entry is None:
            entry = _Waiting(asyncio.get_running_loop().create_future())
            self._waiting[question] = entry
        entry.askers += 1
        self._wake()
        return entry

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            wait_s = self._began_s + self._interval_s - loop.time()
            # Not less than one turn: all that is asked in this one goes along.
            await asyncio.sleep(max(wait_s, 0.0))
            batch = self._take()
            if not batch:
                return
            self._began_s = loop.time()
            self.batches += 1
            self.asked += len(batch)
            await self._answer_batch(batch)

    def _take(self) -> list[tuple[RightsQuestion, _Waiting]]:
        """The oldest questions that somebody still asks."""
        batch: list[tuple[RightsQuestion, _Waiting]] = []
        for question in list(self._waiting):
            entry = self._waiting.pop(question)
            if entry.askers:
                batch.append((question, entry))
                if len(batch) == self._batch_max:
                    break
        return batch

    def adopt(self, batch: list[tuple[RightsQuestion, _Waiting]]) -> None:
        """Take questions over from another gatherer, with those who wait for them."""
        for question, entry in batch:
            if question in self._waiting or len(self._waiting) >= self._waiting_max:
                _fail(entry, LimitReachedError("too many questions about rights wait"))
            else:
                self._waiting[question] = entry
        self._wake()

    def _wake(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name="channel rights")

    async def _answer_batch(self, batch: list[tuple[RightsQuestion, _Waiting]]) -> None:
        try:
            answers = await self._answer([question for question, _ in batch])
        except asyncio.CancelledError:
            for _, entry in batch:
                _fail(entry, DatabaseUnavailableError("the server stops"))
            raise
        except Exception as error:  # noqa: BLE001 - those who asked get it
            if self._otherwise is not None and isinstance(error, StatementError):
                self._otherwise.adopt(batch)
                return
            for _, entry in batch:
                _fail(entry, error)
            return
        for (_, entry), answer in zip(batch, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(answer)


def _fail(entry: _Waiting, error: Exception) -> None:
    if not entry.answer.done():
        entry.answer.set_exception(error)
        entry.answer.exception()  # perhaps nobody waits any more
