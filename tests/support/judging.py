"""Rows judged on their real images from the log, beside what a SELECT shows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.support.postgres import PASSWORD
from tests.support.stream import RecordingSink, SystemClock, make_source, streaming
from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.adapters.postgres.checker import CheckerLogin
from tidewire.adapters.postgres.row_security.authorizer import (
    RowSecurityAuthorizer,
    RowSecurityLimits,
)
from tidewire.core.catalog import Catalog, Table
from tidewire.core.change import Change, ChangeKind
from tidewire.core.row_policy import RowPolicy
from tidewire.ports.authorizer import RowQuestion, RowVerdict

Claims = Mapping[str, Any]


class Court:
    """A database whose changes are streamed, and a judge of their rows."""

    def __init__(
        self, url: str, connection: asyncpg.Connection, limits: RowSecurityLimits | None
    ) -> None:
        self.url = url
        self.connection = connection
        self.sink = RecordingSink()
        self.catalogs = PostgresCatalog(url)
        self._limits = limits
        self._authorizer: RowSecurityAuthorizer | None = None

    @property
    def authorizer(self) -> RowSecurityAuthorizer:
        assert self._authorizer is not None
        return self._authorizer

    async def open(self) -> None:
        login = CheckerLogin(self.url, password=PASSWORD)
        assert "tidewire_check" in await login.url()
        self._authorizer = RowSecurityAuthorizer(
            login.url, clock=SystemClock(), grants=login, limits=self._limits
        )

    async def close(self) -> None:
        await self.authorizer.close()
        await self.catalogs.close()

    async def images(self, statement: str, *arguments: Any) -> list[tuple[int, Change]]:
        """Carry out a statement; gives (xid, change) of all rows that it changed."""
        before = len(self.sink.transactions)
        async with self.connection.transaction():
            if arguments:
                await self.connection.execute(statement, *arguments)
            else:
                await self.connection.execute(statement)
            await self.connection.execute(
                "select pg_logical_emit_message(true, 'tidewire.test', '')"
            )
        await self.sink.wait(
            lambda: any(
                getattr(change, "prefix", "") == "tidewire.test"
                for transaction in self.sink.transactions[before:]
                for change in transaction.changes
            )
        )
        return [
            (transaction.xid, change)
            for transaction in self.sink.transactions[before:]
            for change in transaction.changes
            if isinstance(change, Change)
        ]

    async def policy(self, table: str, role: str = "authenticated") -> RowPolicy | None:
        """What binds a role, in the present state of the catalogue."""
        catalog = await self.catalogs.refresh(role)
        return self.authorizer.read_decision(catalog, self.table(catalog, table), role).policy

    def table(self, catalog: Catalog, name: str) -> Table:
        return next(t for t in catalog.tables.values() if t.name == name)

    async def judge(
        self,
        table: str,
        changes: Sequence[tuple[int, Change]],
        claims: Sequence[Claims],
        *,
        role: str = "authenticated",
        old: bool = False,
    ) -> list[list[bool | None]]:
        """For each change, for each of the claims: whether its row is seen; None when it failed."""
        catalog = await self.catalogs.refresh(role)
        of = self.table(catalog, table)
        decision = self.authorizer.read_decision(catalog, of, role)
        if decision.policy is None or not decision.rows:
            return [[decision.rows] * len(claims) for _ in changes]
        policy = decision.policy
        keys = [policy.viewer_key(each) for each in claims]
        questions = [
            question_of(of, policy, change, xid, frozenset(keys), old=old)
            for xid, change in changes
        ]
        verdicts = await self.authorizer.judge(questions)
        return [[_told(verdict, key) for key in keys] for verdict in verdicts]

    async def selected(
        self, table: str, claims: Claims, *, role: str = "authenticated", key: str = "id"
    ) -> tuple[set[Any], bool]:
        """The keys of rows that a SELECT under role and claims shows, row by row if it raises.

        Also whether it raised.
        """
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            await self.connection.execute(f'set local role "{role}"')
            await self._claim(claims)
            rows = await self.connection.fetch(f"select {quoted(key)} from {quoted(table)}")
            return {row[0] for row in rows}, False
        except asyncpg.PostgresError:
            pass
        finally:
            await transaction.rollback()
        return await self._selected_by_row(table, claims, role, key), True

    async def _selected_by_row(self, table: str, claims: Claims, role: str, key: str) -> set[Any]:
        """As `selected`, a row that raises left out.

        Plans are made for somebody without claims, those inside of functions too: the planner
        itself tries stable functions, and would raise where the row's own policy does not.
        """
        rows = await self.connection.fetch(f"select {quoted(key)} from {quoted(table)}")
        async with self.connection.transaction():
            await self.connection.execute(
                f"""set local role "{role}"; set local plan_cache_mode = force_generic_plan;
                    prepare one as select from {quoted(table)} where {quoted(key)} = $1"""
            )
            await self._claim({})
            for value in (-1, *(row[0] for row in rows)):
                await self._shows(value)
            await self._claim(claims)
            seen = {row[0] for row in rows if await self._shows(row[0])}
            await self.connection.execute("deallocate one; reset role; reset plan_cache_mode")
            await self._claim({})
        return seen

    async def _shows(self, value: Any) -> bool:
        try:
            async with self.connection.transaction():
                return await self.connection.execute(f"execute one({value})") == "SELECT 1"
        except asyncpg.PostgresError:
            return False

    async def _claim(self, claims: Claims) -> None:
        await self.connection.fetch(
            """select set_config('request.jwt.claims', $1, true),
                      set_config('request.jwt.claim.sub', $2, true),
                      set_config('request.jwt.claim.role', $3, true)""",
            json.dumps(claims),
            _text(claims.get("sub")),
            _text(claims.get("role")),
        )


def question_of(
    table: Table,
    policy: RowPolicy,
    change: Change,
    xid: int,
    keys: frozenset[bytes],
    *,
    old: bool = False,
) -> RowQuestion:
    row = change.old if old or change.kind is ChangeKind.DELETE else change.new
    assert row is not None
    fallback = change.old if change.old_is_full and row is change.new else None
    return RowQuestion(table, change.relation, policy, row, fallback, keys, xid)


@asynccontextmanager
async def court_of(url: str, *, limits: RowSecurityLimits | None = None) -> AsyncGenerator[Court]:
    """A court over a migrated database, streaming."""
    # Without kept plans: one made for good claims would hide that the planner raises for bad ones.
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30, statement_cache_size=0)
    court = Court(url, connection, limits)
    await court.open()
    try:
        source = make_source(url, publication="supabase_realtime")
        async with streaming(source, court.sink):
            yield court
    finally:
        await court.close()
        await connection.close()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _told(verdict: RowVerdict, key: bytes) -> bool | None:
    return None if key in verdict.failed else key in verdict.visible


def _text(value: Any) -> str:
    return "" if value is None else str(value)
