"""Reads PostgreSQL's system catalogues: the `CatalogSource` of the engine.

Theory of operation. A cheap fingerprint query tells which of four parts may have changed
(tables, roles, types, functions); what depends on them is read anew, in one transaction with the
fingerprint. The
fingerprint is read first, so what changes meanwhile makes the next fingerprint differ: a state
may be newer than its fingerprint says, never older.

Callers share reads. A read answers only callers that were there before it began; whoever comes
later waits for the next one, and all who wait share that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from tidewire.adapters.postgres import catalog_queries as queries
from tidewire.adapters.postgres import compare
from tidewire.adapters.postgres.catalog_policies import PolicyContext, read_context, with_policies
from tidewire.adapters.postgres.query_session import Connection, QuerySession, Row, StatementError
from tidewire.core.catalog import (
    Catalog,
    Table,
    TableAccess,
    TableColumn,
    TypeInfo,
    TypeKind,
)
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.snapshot import shows
from tidewire.ports.catalog_source import Comparison, LiteralRequest

ROLES_MAX = 1_000
"""Roles whose access is kept; tokens name few."""

EMPTY = Catalog(fingerprint="", tables={}, types={}, access={})
NO_POLICIES = PolicyContext({}, {}, {}, {}, has_standard_claims=False, named_claims=frozenset())


class _State(msgspec.Struct, frozen=True):
    """A catalogue with what only this adapter needs of it."""

    catalog: Catalog
    parts: tuple[str, str, str, str]
    type_names: dict[int, compare.TypeName]
    collations: dict[tuple[int, str], str]
    policies: PolicyContext
    snapshot: str = ""


class PostgresCatalog:
    """Implements `ports.catalog_source.CatalogSource`."""

    def __init__(
        self,
        dsn: str,
        *,
        publication: str = "supabase_realtime",
        deadline_s: float = 5.0,
        statement_timeout_s: float = 2.0,
    ) -> None:
        """Connect on the first question.

        Args:
            dsn: Where the database is.
            publication: Whose tables count.
            deadline_s: Seconds after which a question fails as unanswered.
            statement_timeout_s: Seconds that one statement may take in the server.
        """
        self._publication = publication
        self._deadline_s = deadline_s
        # Two connections: a slow comparison must not hold a join up.
        self._reading = QuerySession(
            dsn,
            deadline_s=deadline_s,
            statement_timeout_s=deadline_s,
            name="tidewire catalogue",
        )
        self._asking = QuerySession(
            dsn,
            deadline_s=deadline_s,
            statement_timeout_s=statement_timeout_s,
            name="tidewire filters",
        )
        self._state = _State(EMPTY, ("", "", "", ""), {}, {}, NO_POLICIES)
        self._roles: dict[str, None] = {}
        self._running: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def current(self) -> Catalog:
        """The last state read; the same object as long as nothing changed."""
        return self._state.catalog

    async def refresh(self, role: str | None = None, *, xid: int = 0) -> Catalog:
        """Read what changed since, never answering with a read begun before this call.

        Raises:
            DatabaseUnavailableError: The transaction `xid` is not visible yet.
            DatabaseUnavailableError: No answer within the deadline.
            DatabaseUnavailableError: Or more than `ROLES_MAX` roles exist and were asked about.
        """
        if role is not None and role not in self._roles:
            self._note_role(role)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_next(self._running))
            self._waiting.add_done_callback(_take_error)
        # Shielded: a caller that gives up must not take the answer from the others.
        try:
            async with asyncio.timeout(2 * self._deadline_s):
                await asyncio.shield(self._waiting)
        except TimeoutError as error:
            raise DatabaseUnavailableError("the database does not answer in time") from error
        if xid and not shows(self._state.snapshot, xid):
            raise DatabaseUnavailableError("what the log tells of is not visible yet")
        return self._state.catalog

    async def canonical_literals(self, requests: Sequence[LiteralRequest]) -> list[str | None]:
        """Each literal in its type's output form; None where it is no value of the type.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        return await compare.canonical_literals(self._asking, self._state.type_names, requests)

    async def compare(self, comparisons: Sequence[Comparison]) -> list[bool | None]:
        """Judge comparisons in the database; None where one raised.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        state = self._state
        return await compare.compare(self._asking, state.type_names, state.collations, comparisons)

    async def close(self) -> None:
        """End reads under way and close the connections."""
        for task in (self._waiting, self._running):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._reading.close()
        await self._asking.close()

    def _note_role(self, role: str) -> None:
        if "\0" in role:
            return  # no role can be called so, and PostgreSQL refuses a query that asks for one
        if len(self._roles) >= ROLES_MAX:
            known = self._state.catalog.access
            self._roles = {name: None for name in self._roles if known.get(name) is not None}
        if len(self._roles) >= ROLES_MAX:
            raise DatabaseUnavailableError("too many roles")
        self._roles[role] = None

    async def _read_next(self, before: asyncio.Task[None] | None) -> None:
        """Wait for the read that runs, then read for all who came meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        if before is not None:
            await asyncio.wait([before])
        self._running, self._waiting = task, None
        try:
            await self._read()
        finally:
            if self._running is task:
                self._running = None

    async def _read(self) -> None:
        try:
            self._state = await self._read_state()
        except DatabaseUnavailableError as error:
            # A connection that PostgreSQL's restart broke costs one more try, a deadline none.
            if isinstance(error.__cause__, TimeoutError):
                raise
            self._state = await self._read_state()

    async def _read_state(self) -> _State:
        try:
            async with (
                self._reading.connected() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await self._read_parts(connection)
        except StatementError as error:
            # Nothing of a user's is in these statements, so it is the server's state.
            raise DatabaseUnavailableError(f"the catalogue cannot be read: {error}") from error

    async def _read_parts(self, connection: Connection) -> _State:
        old = self._state
        row = await connection.fetchrow(queries.FINGERPRINT, self._publication)
        assert row is not None  # a select without from gives one row
        parts = (row["tables"], row["roles"], row["types"], row["functions"])
        roles = list(self._roles)
        if parts == old.parts and all(role in old.catalog.access for role in roles):
            return msgspec.structs.replace(old, snapshot=row["snapshot"])
        types, type_names = old.catalog.types, old.type_names
        if parts[2] != old.parts[2]:
            types, type_names = _read_types(await connection.fetch(queries.TYPES))
        tables, collations = old.catalog.tables, old.collations
        default_is_c = old.catalog.default_collation_is_c
        if parts[0] != old.parts[0]:
            default_is_c = bool(await connection.fetchval(queries.DEFAULT_COLLATION_IS_C))
            rows = await connection.fetch(queries.TABLES, self._publication, default_is_c)
            tables, collations = _read_tables(rows)
        policies = old.policies
        access = old.catalog.access
        if parts != old.parts:
            policies = await read_context(connection, tables, types, type_names)
            access = {}
        access = {role: access[role] for role in roles if role in access} | {
            role: await self._read_access(connection, role, policies)
            for role in roles
            if role not in access
        }
        catalog = Catalog(
            fingerprint="|".join(parts),
            tables=tables,
            types=types,
            access=access,
            default_collation_is_c=default_is_c,
        )
        return _State(catalog, parts, type_names, collations, policies, row["snapshot"])

    async def _read_access(
        self, connection: Connection, role: str, policies: PolicyContext
    ) -> dict[int, TableAccess] | None:
        rows = await connection.fetch(queries.ACCESS, role, list(policies.tables))
        access = _access_of(rows)
        if access is None:
            return None
        former = self._state.catalog.access.get(role) or {}
        return await with_policies(connection, role, access, policies, former)


def _take_error(task: asyncio.Task[None]) -> None:
    """Callers get the error; when all of them gave up, nobody is left to be told."""
    if not task.cancelled():
        task.exception()


def _read_tables(
    rows: Iterable[Row],
) -> tuple[dict[int, Table], dict[tuple[int, str], str]]:
    columns: dict[int, list[TableColumn]] = {}
    firsts: dict[int, Row] = {}
    collations: dict[tuple[int, str], str] = {}
    for row in rows:
        oid = row["oid"]
        firsts.setdefault(oid, row)
        columns.setdefault(oid, []).append(
            TableColumn(
                name=row["column"],
                type_oid=row["type_oid"],
                is_primary_key=row["is_primary_key"],
                is_collation_c=row["is_collation_c"],
                is_deterministic=row["is_deterministic"],
            )
        )
        if row["collation"]:
            collations[oid, row["column"]] = row["collation"]
    tables = {
        oid: Table(
            oid=oid,
            schema=row["schema"],
            name=row["name"],
            columns=tuple(columns[oid]),
            has_row_security=row["has_row_security"],
            publishes=frozenset(
                event
                for event, published in (
                    ("INSERT", row["pubinsert"]),
                    ("UPDATE", row["pubupdate"]),
                    ("DELETE", row["pubdelete"]),
                )
                if published
            ),
        )
        for oid, row in firsts.items()
    }
    return tables, collations


def _access_of(rows: Sequence[Row]) -> dict[int, TableAccess] | None:
    """A role's access; None when there is no such role."""
    if not rows:
        return None
    return {
        row["oid"]: TableAccess(
            columns=frozenset(row["columns"]),
            bypasses_row_security=row["bypasses_row_security"],
            has_whole_table=row["has_whole_table"],
        )
        for row in rows
        if row["oid"] is not None
    }


def _read_types(
    rows: Iterable[Row],
) -> tuple[dict[int, TypeInfo], dict[int, compare.TypeName]]:
    types: dict[int, TypeInfo] = {}
    names: dict[int, compare.TypeName] = {}
    for row in rows:
        is_array = bool(row["element_oid"])
        types[row["oid"]] = TypeInfo(
            oid=row["oid"],
            name=row["name"],
            kind=TypeKind.ARRAY if is_array else TypeKind(row["kind"]),
            base_oid=row["base_oid"],
            element_oid=row["element_oid"],
            delimiter=row["delimiter"],
            fields=tuple(zip(row["field_names"] or (), row["field_types"] or (), strict=True)),
            labels=tuple(row["labels"] or ()),
            category=row["category"],
        )
        names[row["oid"]] = compare.TypeName(
            row["qualified"], row["operator_schema"] or "", row["has_array"], row["schema"]
        )
    return types, names
