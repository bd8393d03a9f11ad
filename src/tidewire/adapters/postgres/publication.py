"""Which tables are live: the publication, and the checks before a table enters it.

A table in a publication can break its owner's writes: without a key, and under identity FULL
with a generated column that is not published, every UPDATE and DELETE of it fails. So each is
checked first. The publication carries whole tables: no row filter, no column list.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none
import msgspec

from tidewire.adapters.postgres.connect import SqlConnection, connection_to
from tidewire.adapters.postgres.table_name import TableName, parse_table_name, quote_name
from tidewire.core.errors import DatabaseUnavailableError, SetupError

DEFAULT_PUBLICATION = "supabase_realtime"
LOCK_DEADLINE_S = 5.0
FIRST_WITH_GENERATED_COLUMNS = 180_000

FULL_PRICE = (
    "identity FULL: each UPDATE and DELETE now writes the whole old row to the log, "
    "about 1.6 times as much for small rows and up to 11 times with long text"
)

_IDENTITIES = {"d": "default", "f": "full", "i": "index", "n": "nothing"}
_KIND_REFUSALS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "i": "an index",
    "S": "a sequence",
    "c": "a composite type",
}


class EnableOutcome(msgspec.Struct, frozen=True):
    """What became of a table.

    Attributes:
        schema: Its schema.
        table: Its name.
        changed: Whether it entered or left the publication now.
        identity: What old rows hold: ``default`` (the key), ``full``, ``index`` or ``nothing``.
        notes: What its owner should know, as sentences.
    """

    schema: str
    table: str
    changed: bool
    identity: str
    notes: list[str] = []


class _Facts(msgspec.Struct, frozen=True):
    """What the catalogue says of one table."""

    oid: int
    kind: str
    persistence: str
    identity: str
    owner: str
    has_key: bool
    generated: list[str]
    is_listed: bool
    is_covered: bool

    @property
    def is_live(self) -> bool:
        """Published by its own name, or with all tables, its schema or its parent."""
        return self.is_listed or self.is_covered


_FACTS = """
select c.oid::int8 as oid, c.relkind::text as kind, c.relpersistence::text as persistence,
       c.relreplident::text as identity, pg_get_userbyid(c.relowner) as owner,
       exists (select from pg_index i
                where i.indrelid = c.oid and i.indisprimary and i.indisvalid) as has_key,
       array(select a.attname::text from pg_attribute a
              where a.attrelid = c.oid and a.attgenerated = 's' and not a.attisdropped
              order by a.attnum) as generated,
       exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
                where p.pubname = $3 and r.prrelid = c.oid) as is_listed,
       exists (select from pg_publication_tables t
                where t.pubname = $3 and t.schemaname = n.nspname
                  and t.tablename = c.relname) as is_covered
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = $2
"""


async def ensure_publication(
    connection: SqlConnection, publication: str = DEFAULT_PUBLICATION
) -> bool:
    """Make the publication, empty, unless it exists.

    Returns:
        Whether it was made now.

    Raises:
        SetupError: It is absent and may not be made.
    """
    if await _exists(connection, publication):
        return False
    version = int(await connection.fetchval("show server_version_num"))
    options = " with (publish_generated_columns = stored)"
    suffix = options if version >= FIRST_WITH_GENERATED_COLUMNS else ""
    try:
        await connection.execute(f"create publication {quote_name(publication)}{suffix}")
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return False
    except asyncpg.InsufficientPrivilegeError as error:
        database = quote_name(await connection.fetchval("select current_database()"))
        user = quote_name(await connection.fetchval("select current_user"))
        raise SetupError(
            f"the publication {publication} is absent and may not be made: {error}",
            f"Run as the database's owner: GRANT CREATE ON DATABASE {database} TO {user}, "
            f"or: CREATE PUBLICATION {quote_name(publication)}",
        ) from error
    return True


async def enable_table(
    url_or_connection: str | SqlConnection,
    table: str,
    *,
    full: bool = False,
    publication: str = DEFAULT_PUBLICATION,
) -> EnableOutcome:
    """Make a table live, after checking that this harms nobody who writes to it.

    A table that is live already stays so. `full` also sets REPLICA IDENTITY FULL; without it
    the identity is left as it is.

    Args:
        url_or_connection: Where; a connection must have no transaction open.
        table: ``schema.table``, quoted as in SQL where need be.
        full: Whether old rows shall be told whole.
        publication: Its name.

    Raises:
        InvalidRequestError: `table` is no name.
        SetupError: The table is absent, cannot be published, has no key, or a right is missing.
        DatabaseUnavailableError: No answer, or the table was locked for too long.
    """
    name = parse_table_name(table)
    async with _session(url_or_connection) as connection:
        await ensure_publication(connection, publication)
        facts = await _read_facts(connection, name, publication)
        _refuse_unfit(name, facts, full=full)
        notes = _notes_of(facts, full=full)
        async with _change(connection, name, facts, publication):
            notes += await _publish_generated(connection, facts, publication, full=full)
            if full and facts.identity != "f":
                await connection.execute(f"alter table {name} replica identity full")
            if not facts.is_live:
                await _add(connection, name, publication)
        identity = "full" if full else _IDENTITIES[facts.identity]
        return EnableOutcome(name.schema, name.name, not facts.is_live, identity, notes)


async def disable_table(
    url_or_connection: str | SqlConnection,
    table: str,
    *,
    publication: str = DEFAULT_PUBLICATION,
) -> EnableOutcome:
    """Take a table out of the publication; its identity stays as it is.

    Raises:
        InvalidRequestError: `table` is no name.
        SetupError: The table is absent, a right is missing, or it is published
            with its schema, its parent or all tables.
        DatabaseUnavailableError: No answer, or the table was locked for too long.
    """
    name = parse_table_name(table)
    async with _session(url_or_connection) as connection:
        facts = await _read_facts(connection, name, publication)
        if facts.is_covered and not facts.is_listed:
            raise SetupError(
                f"{name} is published with its parent, its schema or all tables of {publication}",
                "Change the publication itself: ALTER PUBLICATION, or make it anew.",
            )
        if facts.is_listed:
            async with _change(connection, name, facts, publication):
                await connection.execute(
                    f"alter publication {quote_name(publication)} drop table {name}"
                )
        ending = (
            f"identity FULL stays; to end its price: ALTER TABLE {name} REPLICA IDENTITY DEFAULT"
        )
        notes = [ending] if facts.identity == "f" else []
        identity = _IDENTITIES[facts.identity]
        return EnableOutcome(name.schema, name.name, facts.is_listed, identity, notes)


@asynccontextmanager
async def _session(url_or_connection: str | SqlConnection) -> AsyncGenerator[SqlConnection]:
    if isinstance(url_or_connection, str):
        async with connection_to(url_or_connection) as connection:
            yield connection
    else:
        yield url_or_connection


@asynccontextmanager
async def _change(
    connection: SqlConnection, name: TableName, facts: _Facts, publication: str
) -> AsyncGenerator[None]:
    """One transaction that waits for no lock for long, with clear errors."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_DEADLINE_S:.0f}s'")
            yield
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnavailableError(
            f"{name} was locked by another session for {LOCK_DEADLINE_S:.0f} s; try again"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise SetupError(
            f"{name} cannot be changed: {error}",
            f"Do this as {facts.owner}, who owns the table, or as the owner of {publication}.",
        ) from error


async def _exists(connection: SqlConnection, publication: str) -> bool:
    query = "select exists (select from pg_publication where pubname = $1)"
    return bool(await connection.fetchval(query, publication))


async def _read_facts(connection: SqlConnection, name: TableName, publication: str) -> _Facts:
    row = await connection.fetchrow(_FACTS, name.schema, name.name, publication)
    if row is None:
        raise SetupError(f"there is no table {name}", await _suggestion(connection, name))
    return msgspec.convert(_plain(row), _Facts)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row.items())


async def _suggestion(connection: SqlConnection, name: TableName) -> str:
    row = await connection.fetchrow(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and lower(c.relname) = lower($1)"
        " and n.nspname not in ('pg_catalog', 'information_schema')"
        " order by n.nspname = $2 desc, n.nspname, c.relname limit 1",
        name.name,
        name.schema,
    )
    if row is None:
        return "Check the schema and the name, and the database in the URL."
    return f"Did you mean {TableName(row['nspname'], row['relname'])}? Mind the double quotes."


def _refuse_unfit(name: TableName, facts: _Facts, *, full: bool) -> None:
    if name.schema in {"pg_catalog", "information_schema"} or name.schema.startswith("pg_toast"):
        raise SetupError(f"{name} is a system table", "Only tables of your own can be live.")
    if facts.kind not in {"r", "p"}:
        kind = _KIND_REFUSALS.get(facts.kind, "no table")
        raise SetupError(
            f"{name} is {kind}: PostgreSQL streams changes of tables only",
            "Make the tables below it live instead.",
        )
    if facts.persistence != "p":
        kind = "temporary" if facts.persistence == "t" else "unlogged"
        raise SetupError(
            f"{name} is {kind}, so its changes are not in the log that the stream reads",
            f"Run: ALTER TABLE {name} SET LOGGED" if kind == "unlogged" else "",
        )
    is_keyless = facts.identity == "n" or (facts.identity == "d" and not facts.has_key)
    if is_keyless and not full:
        raise SetupError(
            f"{name} has no primary key: once it is published, PostgreSQL refuses every UPDATE "
            "and DELETE of it",
            "Add a primary key, or make it live with --full, which identifies rows by all "
            "their columns. " + FULL_PRICE[:1].upper() + FULL_PRICE[1:] + ".",
        )


def _notes_of(facts: _Facts, *, full: bool) -> list[str]:
    notes: list[str] = []
    if full and facts.identity != "f":
        notes.append(FULL_PRICE)
    if not facts.has_key:
        notes.append("without a primary key, clients cannot tell two equal rows apart")
    if facts.kind == "p":
        notes.append("partitioned: changes are told under the name of the partition")
    return notes


async def _publish_generated(
    connection: SqlConnection, facts: _Facts, publication: str, *, full: bool
) -> list[str]:
    """See to it that stored generated columns are published, where PostgreSQL knows how.

    From version 18 on a table of identity FULL with one that is not published refuses every
    UPDATE and DELETE; before, such columns are missing from the stream.
    """
    if not facts.generated:
        return []
    columns = ", ".join(facts.generated)
    version = int(await connection.fetchval("show server_version_num"))
    if version < FIRST_WITH_GENERATED_COLUMNS:
        return [f"generated columns are not in the stream before PostgreSQL 18: {columns}"]
    query = "select pubgencols::text from pg_publication where pubname = $1"
    if await connection.fetchval(query, publication) == "s":
        return []
    try:
        async with connection.transaction():
            await connection.execute(
                f"alter publication {quote_name(publication)}"
                " set (publish_generated_columns = stored)"
            )
    except asyncpg.InsufficientPrivilegeError as error:
        if not full and facts.identity != "f":
            return [f"generated columns are not in the stream: {columns}"]
        raise SetupError(
            f"with identity FULL, PostgreSQL would refuse every UPDATE and DELETE, since "
            f"{publication} does not publish generated columns ({columns})",
            "Run as the publication's owner: ALTER PUBLICATION "
            f"{quote_name(publication)} SET (publish_generated_columns = stored)",
        ) from error
    return [f"{publication} publishes generated columns from now on: {columns}"]


async def _add(connection: SqlConnection, name: TableName, publication: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(
                f"alter publication {quote_name(publication)} add table {name}"
            )
    except asyncpg.DuplicateObjectError:
        return  # another session was first
