"""Who may see what, by the database's own row security: the whole `Authorizer`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from tidewire.adapters.postgres.query_session import QuerySession
from tidewire.adapters.postgres.row_security.circuit import Circuit
from tidewire.adapters.postgres.row_security.images import Layouts, values_at
from tidewire.adapters.postgres.row_security.jobs import Pending, plan_jobs
from tidewire.adapters.postgres.row_security.judge import Found, Judge
from tidewire.adapters.postgres.row_security.local import NOBODY, LocalIndexes
from tidewire.adapters.postgres.row_security.session import (
    SESSION_SETTINGS,
    Grants,
    JudgingSession,
)
from tidewire.adapters.postgres.row_security.stats import RowSecurityStats
from tidewire.core.catalog import Catalog, Table
from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.row_policy import RowPolicy, Tier
from tidewire.ports.authorizer import ReadDecision, RowQuestion, RowVerdict
from tidewire.protocol.pgoutput.row import UNCHANGED, column_text

_NO_COLUMNS: frozenset[str] = frozenset()
_NOBODY = RowVerdict(NOBODY)


class RowSecurityLimits(msgspec.Struct, frozen=True):
    """Bounds of judging.

    Attributes:
        sessions: Connections. A policy always goes to the same one, so a slow one leaves the
            other sessions free.
        judging_s: Seconds after which a call of `judge` begins no more statements: what is left
            fails, and the stream goes on.
        deadline_s: Seconds after which a call of `judge` is given up as unanswered.
        statement_timeout_s: Seconds that one statement may take in the server; a policy that
            takes longer fails for everybody, and is not asked again for a while.
    """

    sessions: int = 2
    judging_s: float = 5.0
    deadline_s: float = 10.0
    statement_timeout_s: float = 2.0


class RowSecurityAuthorizer:
    """Implements `ports.authorizer.Authorizer` by the policies in the catalogue.

    Attributes:
        stats: What was judged.
    """

    def __init__(
        self,
        dsn: str | Callable[[], Awaitable[str]],
        *,
        clock: Clock,
        grants: Grants | None = None,
        limits: RowSecurityLimits | None = None,
    ) -> None:
        """Connect on the first question that needs it.

        Args:
            dsn: Where the database is, or what says so at each connecting, by a user that may
                take the roles that tokens name and, best, may do nothing else.
            clock: Measures how long somebody is kept out.
            grants: Tries to give that user what it lacks.
            limits: Bounds.
        """
        self.stats = RowSecurityStats()
        self._limits = limits or RowSecurityLimits()
        self._clock = clock
        self._circuit = Circuit(clock)
        self._layouts = Layouts()
        self._local = LocalIndexes()
        self._sessions = [
            JudgingSession(
                QuerySession(
                    dsn,
                    deadline_s=self._limits.deadline_s,
                    statement_timeout_s=self._limits.statement_timeout_s,
                    name="tidewire row security",
                    settings=SESSION_SETTINGS,
                ),
                grants,
            )
            for _ in range(self._limits.sessions)
        ]
        self._judges = [
            Judge(session, self._circuit, self.stats, clock) for session in self._sessions
        ]

    def read_decision(self, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        """Decide from one state of the catalogue, without a query."""
        access = (catalog.access.get(role) or {}).get(table.oid)
        if access is None:
            return ReadDecision(_NO_COLUMNS, rows=False, reason="the role has no access")
        policy = access.policy
        if policy is None and not access.bypasses_row_security:
            return ReadDecision(access.columns, rows=False, reason="row security binds the role")
        return ReadDecision(
            access.columns, rows=True, has_whole_table=access.has_whole_table, policy=policy
        )

    async def judge(self, questions: Sequence[RowQuestion]) -> list[RowVerdict]:
        """Judge rows; verdicts in the order of questions.

        Raises:
            DatabaseUnavailableError: No answer within the deadline; nothing was judged.
        """
        verdicts: list[RowVerdict] = [_NOBODY] * len(questions)
        found: dict[int, Found] = {}
        waiting: dict[tuple[RowPolicy, Tier], list[Pending]] = {}
        for place, question in enumerate(questions):
            asked = question.keys
            if question.policy.local is not None:
                verdicts[place], asked = self._look_up(question)
            if asked:
                self._wait_for(place, question, asked, waiting, found)
        if waiting:
            await self._ask(questions, waiting, found)
        for place, outcome in found.items():
            visible = verdicts[place].visible | (outcome.visible - outcome.failed)
            verdicts[place] = RowVerdict(visible, frozenset(outcome.failed))
            self.stats.failed_total += len(outcome.failed)
        return verdicts

    async def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions:
            await session.close()

    def _look_up(self, question: RowQuestion) -> tuple[RowVerdict, frozenset[bytes]]:
        """Judge ``column = claim`` here; also gives whom PostgreSQL must be asked about."""
        places = self._layouts.of(question).columns
        if places is None or not places:
            return _NOBODY, question.keys
        cell = column_text(question.row, places[0])
        if cell is UNCHANGED:
            cell = None if question.fallback is None else column_text(question.fallback, places[0])
            if cell is UNCHANGED or question.fallback is None:
                return _NOBODY, question.keys
        index = self._local.of(question.policy, question.keys)
        self.stats.local_total += len(question.keys) - len(index.unsure)
        if not isinstance(cell, bytes):
            return _NOBODY, index.unsure  # NULL equals nothing; what raises still has to
        return RowVerdict(index.by_value.get(cell, NOBODY)), index.unsure

    def _wait_for(
        self,
        place: int,
        question: RowQuestion,
        asked: frozenset[bytes],
        waiting: dict[tuple[RowPolicy, Tier], list[Pending]],
        found: dict[int, Found],
    ) -> None:
        """Note what the database has to be asked about one image."""
        policy = question.policy
        if policy.tier is Tier.HIDDEN:
            self.stats.hidden_total += len(asked)
            return
        outcome = found.setdefault(place, Found(set(), set()))
        held = self._circuit.held(policy, asked)
        if held:
            self.stats.held_total += len(held)
            outcome.failed |= held
            asked -= held
        layout = self._layouts.of(question)
        tier = Tier.SETS if policy.sets and not policy.bound_schemas else Tier.LOOP
        places = layout.columns if policy.tier is not Tier.BY_KEY else None
        values = None if places is None else values_at(question, places)
        if values is None:
            tier = Tier.BY_KEY
            values = None if layout.key is None else values_at(question, layout.key)
        if values is None:
            self.stats.closed_total += len(asked)
            outcome.failed |= asked
        elif asked:
            pending = Pending(place, values, asked, question.xid)
            waiting.setdefault((policy, tier), []).append(pending)

    async def _ask(
        self,
        questions: Sequence[RowQuestion],
        waiting: dict[tuple[RowPolicy, Tier], list[Pending]],
        found: dict[int, Found],
    ) -> None:
        until_s = self._clock.monotonic_s() + self._limits.judging_s
        by_judge: dict[int, list[tuple[RowPolicy, Tier]]] = {}
        for policy, tier in waiting:
            by_judge.setdefault(policy.table_oid % len(self._judges), []).append((policy, tier))

        async def work(number: int) -> None:
            judge = self._judges[number]
            for policy, tier in by_judge[number]:
                pendings = waiting[policy, tier]
                if tier is not Tier.SETS:
                    pendings = await self._only_visible(judge, pendings, found)
                for job in plan_jobs(policy, tier, pendings):
                    table = questions[job.pendings[0].place].table
                    await judge.run(job, table, found.__getitem__, until_s=until_s)

        try:
            async with asyncio.timeout(self._limits.deadline_s):
                if len(by_judge) == 1:  # the common case, and no task is made for it
                    await work(next(iter(by_judge)))
                    return
                async with asyncio.TaskGroup() as group:
                    for number in by_judge:
                        group.create_task(work(number))
        except* (TimeoutError, DatabaseUnavailableError) as errors:
            reason = errors.exceptions[0]
            raise DatabaseUnavailableError(f"rows are not judged in time: {reason}") from reason

    async def _only_visible(
        self, judge: Judge, pendings: list[Pending], found: dict[int, Found]
    ) -> list[Pending]:
        """Those whose transaction queries see; for the others nobody can say.

        Policies that ask tables need it too: whom the transaction itself let in would be passed
        over, and whom it locked out would be told.
        """
        visible = await judge.visible(pendings)
        for pending in pendings:
            if pending not in visible:
                self.stats.closed_total += len(pending.keys)
                found[pending.place].failed |= pending.keys
        return visible
