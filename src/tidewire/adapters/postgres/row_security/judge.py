"""Carrying out calls, and what is done when one fails."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence

import msgspec

from tidewire.adapters.postgres.query_session import Row, StatementError, StatementTimeoutError
from tidewire.adapters.postgres.row_security.circuit import Circuit
from tidewire.adapters.postgres.row_security.images import array_literal
from tidewire.adapters.postgres.row_security.jobs import ORDERS_MAX, Job, Pending
from tidewire.adapters.postgres.row_security.session import BOUND, JudgingSession, RightRefusedError
from tidewire.adapters.postgres.row_security.statements import (
    bound_functions,
    by_key_function,
    loop_function,
    sets_function,
)
from tidewire.adapters.postgres.row_security.stats import RowSecurityStats
from tidewire.core.catalog import Table
from tidewire.core.clock import Clock
from tidewire.core.row_policy import RowPolicy, Tier
from tidewire.protocol.pgwire.quoting import quote_identifier

logger = logging.getLogger(__name__)

CALLS_MAX = 64
"""Calls that one job may take when parts of it fail; what is still untold then counts as failed."""

VISIBLE_TRIES_MAX = 40
VISIBLE_PAUSE_S = 0.025
"""How often, and how far apart, a transaction is looked for that is not visible yet."""


class Found(msgspec.Struct):
    """What became of one image.

    Attributes:
        visible: Viewers that see it.
        failed: Viewers for which the policy raised.
    """

    visible: set[bytes]
    failed: set[bytes]


class Judge:
    """Carries calls out on one session."""

    def __init__(
        self, session: JudgingSession, circuit: Circuit, stats: RowSecurityStats, clock: Clock
    ) -> None:
        self._clock = clock
        self._session = session
        self._circuit = circuit
        self._stats = stats
        self._told: set[tuple[str, str]] = set()

    async def run(
        self, job: Job, table: Table, found: Callable[[int], Found], *, until_s: float
    ) -> None:
        """Judge a job's images; writes what comes of each into `found` of its place.

        After `until_s`, monotonic seconds, no call is begun: what is left has failed, and the
        policy is not asked for a while.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        waiting = [job]
        for _ in range(CALLS_MAX):
            if not waiting:
                return
            if self._clock.monotonic_s() > until_s:
                self._circuit.hold_policy(job.policy)
                self._tell("judging takes too long", job.policy, StatementTimeoutError(""))
                break
            part = waiting.pop()
            try:
                rows = await self._call(part, table)
            except StatementTimeoutError as error:
                self._circuit.hold_policy(job.policy)
                self._tell("a policy takes too long", job.policy, error)
                waiting.append(part)
                break
            except StatementError as error:
                retry = self._after_error(part, error)
                if not retry:
                    self._fail(part, found)
                waiting += retry
                continue
            self._take(part, rows, found)
        for part in waiting:
            self._fail(part, found)

    async def visible(self, pendings: Sequence[Pending]) -> list[Pending]:
        """Those whose transaction every new query sees, waiting a while for the rest.

        A row is decoded from the log before its transaction is visible; looked at too early, the
        table would show what was there before.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        xids = {pending.xid for pending in pendings if pending.xid}
        seen: set[int] = set()
        for attempt in range(VISIBLE_TRIES_MAX):
            if attempt:
                await asyncio.sleep(VISIBLE_PAUSE_S)
            self._stats.queries_total += 1
            try:
                seen |= await self._session.visible(sorted(xids - seen))
            except StatementError:
                logger.exception("transactions cannot be looked for")
                break
            if seen >= xids:
                break
        return [pending for pending in pendings if pending.xid in seen]

    async def _call(self, job: Job, table: Table) -> Sequence[Row]:
        policy = job.policy
        given = policy.key if job.tier is Tier.BY_KEY else policy.columns
        try:
            columns = [
                array_literal([pending.values[n] for pending in job.pendings], column.delimiter)
                for n, column in enumerate(given)
            ]
        except UnicodeDecodeError as error:
            raise StatementError("a value is no UTF-8") from error

        is_bound = bool(policy.bound_schemas) and job.tier is Tier.LOOP
        kind = BOUND if is_bound else job.tier.value

        def make(name: str) -> str:
            if job.tier is Tier.BY_KEY:
                qualified = f"{quote_identifier(table.schema)}.{quote_identifier(table.name)}"
                return by_key_function(name, policy, qualified)
            if job.tier is Tier.SETS:
                return sets_function(name, policy)
            return (bound_functions if kind == BOUND else loop_function)(name, policy)

        self._stats.queries_total += 1
        return await self._session.call(
            policy,
            kind,
            make,
            claims=_texts(job.keys),
            columns=columns,
            rows=len(job.pendings),
        )

    def _after_error(self, job: Job, error: StatementError) -> list[Job]:
        """What to try instead; nothing when the job has failed."""
        if isinstance(error, RightRefusedError):
            self._tell("a right is missing", job.policy, error)
            return []
        if job.tier is Tier.SETS:
            return [job.as_loop()]
        if len(job.pendings) > 1:
            return list(job.halves())
        self._tell("a row cannot be judged", job.policy, error)
        return []

    def _fail(self, job: Job, found: Callable[[int], Found]) -> None:
        for pending in job.pendings:
            found(pending.place).failed |= pending.keys.intersection(job.keys)

    def _take(self, job: Job, rows: Sequence[Row], found: Callable[[int], Found]) -> None:
        failed: dict[int, set[bytes]] = {}
        everybody = len(job.keys)
        for row in rows:
            key_number: int = row["key"]
            seen: list[int] = row["seen"] or []
            raised: list[int] = row["failed"] or []
            key = job.keys[key_number - 1]
            for number in seen:
                pending = job.pendings[number - 1]
                if key in pending.keys:
                    found(pending.place).visible.add(key)
            for number in raised:
                failed.setdefault(number - 1, set()).add(key)
        self._count(job)
        culprits: set[bytes] = set()
        for number, keys in failed.items():
            pending = job.pendings[number]
            found(pending.place).failed |= keys & pending.keys
            if len(keys) < everybody:
                culprits |= keys
        self._circuit.note(job.policy, culprits, job.keys)

    def _count(self, job: Job) -> None:
        decisions = len(job.keys) * len(job.pendings)
        if job.tier is Tier.SETS:
            self._stats.sets_total += decisions
        elif job.tier is Tier.LOOP:
            self._stats.loop_total += decisions
        else:
            self._stats.by_key_total += decisions

    def _tell(self, text: str, policy: RowPolicy, error: StatementError) -> None:
        """Log a problem of a policy; the same one of the same role once."""
        told = policy.role, text
        level = logging.DEBUG if told in self._told else logging.ERROR
        self._told.add(told)
        logger.log(
            level,
            "%s, so its rows are withheld",
            text,
            extra={"role": policy.role, "table_oid": policy.table_oid, "reason": _kind(error)},
        )


@functools.lru_cache(maxsize=ORDERS_MAX)
def _texts(keys: tuple[bytes, ...]) -> list[str]:
    return [key.decode() for key in keys]


def _kind(error: StatementError) -> str:
    """The reason without row data: PostgreSQL's messages may quote values."""
    if isinstance(error, RightRefusedError):
        return str(error)
    return type(error.__cause__ or error).__name__
