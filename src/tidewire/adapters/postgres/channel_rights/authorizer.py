"""Who may do what on private channels, by the database: the whole `ChannelAuthorizer`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from tidewire.adapters.postgres.channel_rights.gather import Gatherer
from tidewire.adapters.postgres.channel_rights.session import GrantRole, RightsSession, tell_problem
from tidewire.adapters.postgres.channel_rights.statements import SESSION_SETTINGS
from tidewire.adapters.postgres.query_session import (
    QuerySession,
    StatementError,
    StatementTimeoutError,
)
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.ports.channel_authorizer import ChannelRights, Problem, RightsQuestion

Dsn = str | Callable[[], Awaitable[str]]
"""Where a database is, or what says so at each connecting."""


class ChannelRightsLimits(msgspec.Struct, frozen=True):
    """Bounds of asking.

    Attributes:
        batch_max: Questions of one statement.
        waiting_max: Questions that may wait; one more is refused.
        interval_s: Seconds between the beginnings of two statements, at least.
        deadline_s: Seconds after which an asker is told that there is no answer.
        statement_timeout_s: Seconds that one statement may take in the server.
    """

    batch_max: int = 64
    waiting_max: int = 50_000
    interval_s: float = 0.025
    deadline_s: float = 5.0
    statement_timeout_s: float = 2.0


class PostgresChannelAuthorizer:
    """Implements `ports.channel_authorizer.ChannelAuthorizer`.

    What waits is asked in one statement. When that fails as a whole, which a policy that takes
    too long brings about, its questions are asked one by one on a connection of their own, while
    the first one goes on with others.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        grant_role: GrantRole | None = None,
        limits: ChannelRightsLimits | None = None,
    ) -> None:
        """Connect on the first question.

        Args:
            dsn: Where the database is, by a user that may take the roles that tokens name.
            grant_role: Tries to make that user a member of one more role.
            limits: Bounds.
        """
        self._limits = bounds = limits or ChannelRightsLimits()
        self._together = RightsSession(self._session(dsn, "rights"), grant_role)
        self._apart = RightsSession(self._session(dsn, "rights apart"), grant_role)
        self._again = Gatherer(
            self._answer_apart, batch_max=1, waiting_max=bounds.waiting_max, interval_s=0.0
        )
        self._first = Gatherer(
            self._answer,
            batch_max=bounds.batch_max,
            waiting_max=bounds.waiting_max,
            interval_s=bounds.interval_s,
            otherwise=self._again,
        )

    def _session(self, dsn: Dsn, name: str) -> QuerySession:
        return QuerySession(
            dsn,
            deadline_s=self._limits.deadline_s,
            statement_timeout_s=self._limits.statement_timeout_s,
            name=f"tidewire {name}",
            may_write=True,
            settings=SESSION_SETTINGS,
        )

    @property
    def statements_total(self) -> int:
        """Statements that asked for rights."""
        return self._first.batches + self._again.batches

    @property
    def questions_total(self) -> int:
        """Questions in them; equal ones that waited together count once."""
        return self._first.asked

    async def judge(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        """Answer in the order of the questions.

        Raises:
            DatabaseUnavailableError: No answer within the deadline; nothing was judged.
            LimitReachedError: More wait than may.
        """
        asked = [question for question in questions if _is_text(question)]
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                answers = iter(await self._first.ask(asked))
        except TimeoutError as error:
            raise DatabaseUnavailableError("rights were not answered in time") from error
        return [
            next(answers)
            if _is_text(question)
            else ChannelRights(failed=question.wanted, problem=Problem.POLICY)
            for question in questions
        ]

    async def state(self) -> str:
        """A name of what answers follow from.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        try:
            return await self._together.state()
        except StatementError as error:
            raise DatabaseUnavailableError(f"the catalogue cannot be read: {error}") from error

    async def close(self) -> None:
        """End what is under way and close the connections."""
        await self._first.close()
        await self._again.close()
        await self._together.close()
        await self._apart.close()

    async def _answer(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        try:
            return await self._together.answer(questions)
        except DatabaseUnavailableError as error:
            # A connection that a restart broke costs one more try, a deadline none.
            if isinstance(error.__cause__, TimeoutError):
                raise
            return await self._together.answer(questions)

    async def _answer_apart(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        (question,) = questions
        try:
            return await self._apart.answer(questions)
        except StatementError as error:
            is_timeout = isinstance(error, StatementTimeoutError)
            problem = Problem.CANCELED if is_timeout else Problem.POLICY
            tell_problem(question, place="statement", code=problem.value)
            return [ChannelRights(failed=question.wanted, problem=problem)]


def _is_text(question: RightsQuestion) -> bool:
    """Whether PostgreSQL can be handed these texts: no NUL, no half of a surrogate pair."""
    texts = (question.topic, question.role, question.claims, question.headers)
    try:
        return not any(b"\0" in text.encode() for text in texts)
    except UnicodeEncodeError:
        return False
