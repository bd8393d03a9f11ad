"""One session that judges rows: it takes roles, and keeps the functions of the policies it met."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from tidewire.adapters.postgres.query_session import Connection, QuerySession, Row, StatementError
from tidewire.adapters.postgres.row_security.statements import CALL
from tidewire.core.row_policy import RowPolicy

logger = logging.getLogger(__name__)

FUNCTIONS_MAX = 500
"""Functions in one session; then it starts anew, which drops them."""

BUDGET_ROWS = 1_000
"""Rows of one call that are tried one by one after a policy raised; the rest counts as failed."""

# All else is left as it is in any session of the database. Nothing may be written: a SELECT writes
# nothing either.
SESSION_SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "on",
    "check_function_bodies": "off",
    "standard_conforming_strings": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
BOUND = "bound"
"""The kind of function that is never committed."""

_PASSING = '"tidewire passing"'
Arguments = tuple[str, Sequence[str], Sequence[str], int, str, int]
_MAY_LOOK = """
select pg_catalog.has_schema_privilege(session_user, n.oid, 'USAGE')
from pg_catalog.pg_namespace n where n.nspname = $1
"""
_MAY_TAKE = """
select pg_catalog.pg_has_role(session_user, r.oid,
         case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
              then 'SET' else 'MEMBER' end)
from pg_catalog.pg_roles r where r.rolname = $1
"""


class Grants(Protocol):
    """Tries to give the session's user what it lacks; may fail quietly."""

    async def grant_role(self, role: str) -> None:
        """Let it take a role."""
        ...

    async def grant_schema(self, schema: str) -> None:
        """Let it look into a schema."""
        ...


class RightRefusedError(StatementError):
    """The session's user lacks a right, and it could not be given."""


class JudgingSession:
    """A session, its functions, and the roles that it was seen to be able to take."""

    def __init__(self, session: QuerySession, grants: Grants | None) -> None:
        self._session = session
        self._grants = grants
        self._schemas: set[str] = set()
        self._connection: Connection | None = None
        self._functions: dict[tuple[RowPolicy, str], str] = {}
        self._roles: set[str] = set()
        self._path = ""
        self._made = 0
        self._numbers = itertools.count(1)

    async def call(
        self,
        policy: RowPolicy,
        kind: str,
        make: Callable[[str], str],
        *,
        claims: Sequence[str],
        columns: Sequence[str],
        rows: int,
    ) -> Sequence[Row]:
        """Call a policy's function, made first where this session does not have it yet.

        Args:
            policy: Which.
            kind: Which function of the policy.
            make: Gives the SQL that makes it, for a name.
            claims: JSON of each viewer.
            columns: An array literal for each column that is handed over.
            rows: How many rows.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
            StatementError: It was refused, or `RightRefusedError`.
        """
        async with self._session.connected() as connection:
            await self._prepare(connection, policy)
            arguments = (policy.role, claims, columns, rows, self._path, BUDGET_ROWS)
            if kind == BOUND:
                return await _call_uncommitted(connection, make(_PASSING), arguments)
            name = self._functions.get((policy, kind))
            if name is None:
                name = await self._make(connection, make)
                await _plan(connection, name, arguments)
                self._functions[policy, kind] = name
            return await connection.fetch(CALL.format(name=name), *arguments)

    async def visible(self, xids: Sequence[int]) -> set[int]:
        """Which of these transactions, by 32-bit id, this database shows to new queries.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
            StatementError: It was refused.
        """
        rows = await self._session.fetch(_VISIBLE, list(xids))
        return {row["xid"] for row in rows if row["is_visible"]}

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def _prepare(self, connection: Connection, policy: RowPolicy) -> None:
        """See that the session has what a policy needs.

        Raises:
            RightRefusedError: It has not, and it cannot be given.
        """
        if connection is not self._connection:
            self._functions.clear()
            self._roles.clear()
            self._schemas.clear()
            self._made = 0
            self._path = _with_catalog_first(await connection.fetchval("show search_path"))
            self._connection = connection
        if policy.role not in self._roles:
            if not await connection.fetchval(_MAY_TAKE, policy.role):
                if self._grants is not None:
                    await self._grants.grant_role(policy.role)
                if not await connection.fetchval(_MAY_TAKE, policy.role):
                    raise RightRefusedError(f"no right to take the role {policy.role}")
            self._roles.add(policy.role)
        for schema in policy.bound_schemas - self._schemas:
            if not await connection.fetchval(_MAY_LOOK, schema):
                if self._grants is not None:
                    await self._grants.grant_schema(schema)
                if not await connection.fetchval(_MAY_LOOK, schema):
                    raise RightRefusedError(f"no USAGE on the schema {schema}")
            self._schemas.add(schema)

    async def _make(self, connection: Connection, make: Callable[[str], str]) -> str:
        if self._made >= FUNCTIONS_MAX:
            for known in self._functions.values():
                await _write(connection, f"drop function pg_temp.{known}")
            self._functions.clear()
            self._made = 0
        self._made += 1
        name = f'"tidewire {next(self._numbers)}"'
        await _write(connection, make(name))
        return name


async def _call_uncommitted(
    connection: Connection, functions: str, arguments: Arguments
) -> Sequence[Row]:
    """Make functions, call the main one and take everything back."""
    try:
        await connection.execute(f"begin read write; {functions}; set transaction read only")
        await _plan(connection, _PASSING, arguments)
        return await connection.fetch(CALL.format(name=_PASSING), *arguments)
    finally:
        await connection.execute("rollback")


async def _plan(connection: Connection, name: str, arguments: Arguments) -> None:
    """Have a function's statement planned, for nobody and no rows."""
    role, _, columns, _, path, budget = arguments
    nothing = ["{}"] * len(columns)
    await connection.fetch(CALL.format(name=name), role, ["{}"], nothing, 0, path, budget)


async def _write(connection: Connection, statement: str) -> None:
    """Run a statement in a transaction that may write, as the session's others may not."""
    try:
        await connection.execute(f"begin read write; {statement}; commit")
    except BaseException:
        await connection.execute("rollback")
        raise


def _with_catalog_first(path: str) -> str:
    """A search path on which the names of a deparsed policy mean what they meant.

    pg_catalog comes first unless it is named; named behind others it would be searched after them.
    """
    names = [name.strip().strip('"') for name in path.split(",")]
    return f"pg_catalog, {path}" if "pg_catalog" in names[1:] else path


_VISIBLE = """
with now as (
  select pg_catalog.pg_current_snapshot() as snapshot
), top as (
  select snapshot, pg_catalog.pg_snapshot_xmax(snapshot)::text::int8 as top from now
), wide as (
  select x.xid, top.snapshot, top.top, (top.top >> 32 << 32) + x.xid as id
  from top, pg_catalog.unnest($1::int8[]) x (xid)
), near as (
  select xid, snapshot,
         id - case when id > top + 2147483648 then 4294967296
                   when id < top - 2147483648 then -4294967296 else 0 end as id
  from wide
)
select xid, id >= 0 and pg_catalog.pg_visible_in_snapshot(
         greatest(id, 0)::text::xid8, snapshot) as is_visible
from near
"""
