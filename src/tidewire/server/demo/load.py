"""Puts the sample schema and rows into a database, once."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from tidewire.core.errors import SetupError
from tidewire.server.demo.rows import DemoRows, Row, make_rows, organizer_emails
from tidewire.server.demo.schema import FULL_IDENTITY, MARK, STATEMENTS, TABLES
from tidewire.server.demo.sql import CONNECT_TIMEOUT_S, SqlConnection, connect

EnableTable = Callable[[str, bool], Awaitable[None]]
"""Takes ``schema.table`` and whether its whole old rows shall be in the log."""

STATEMENT_TIMEOUT_S = 30.0
_LOCK = 0x71DE_DE30  # any constant of our own: two demos on one database take turns


class DemoUser(msgspec.Struct, frozen=True):
    """A sample organizer's sign-in."""

    email: str
    password: str


def demo_users(secret: str) -> list[DemoUser]:
    """The organizers' sign-ins: made from the data folder's secret, so a restart keeps them."""
    return [DemoUser(email, _password(secret, email)) for email in organizer_emails()]


def _password(secret: str, email: str) -> str:
    digest = hmac.digest(secret.encode(), f"demo user {email}".encode(), hashlib.sha256)
    return base64.b32encode(digest)[:16].decode().lower()


async def load_demo(url: str, *, seed: int, enable: EnableTable) -> bool:
    """Make the sample tables where they are missing, fill them if new, and enable them.

    A second call changes nothing: rows that people changed or deleted stay as they left them.

    Args:
        url: Database, by a role that may create tables in schema public.
        seed: Of the rows.
        enable: Puts a table into the publication.

    Returns:
        Whether the rows were made by this call.

    Raises:
        SetupError: A table of one of the sample names belongs to somebody else.
    """
    connection = await connect(url, name="tidewire demo", statement_timeout_s=STATEMENT_TIMEOUT_S)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            await _refuse_foreign_tables(connection)
            for statement in STATEMENTS:
                await connection.execute(statement)
            is_new = not await connection.fetchval("select exists (select from public.organizers)")
            if is_new:
                await _insert(connection, make_rows(seed))
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    for table in TABLES:
        await enable(f"public.{table}", table in FULL_IDENTITY)
    return is_new


async def _refuse_foreign_tables(connection: SqlConnection) -> None:
    foreign = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relname = any($1) and relkind in ('r', 'p', 'v', 'm', 'f')"
        " and obj_description(oid, 'pg_class') is distinct from $2 order by relname",
        list(TABLES),
        MARK,
    )
    if foreign:
        names = ", ".join(f"public.{row['relname']}" for row in foreign)
        raise SetupError(
            f"The database has tables of its own where the sample data would go: {names}.",
            "Run `tidewire demo` without --database-url, or on an empty database.",
        )


async def _insert(connection: SqlConnection, rows: DemoRows) -> None:
    for table in TABLES:
        records: list[Row] = getattr(rows, table)
        columns = list(records[0])
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        # Table and column names are constants of this package.
        statement = f"insert into public.{table} ({', '.join(columns)}) values ({places})"  # noqa: S608
        values = [[_parameter(row[column]) for column in columns] for row in records]
        await connection.executemany(statement, values)
    for table in ("clients", "trips"):
        await connection.execute(
            "select setval(pg_get_serial_sequence($1, 'id'), $2)",
            f"public.{table}",
            len(getattr(rows, table)),
        )


def _parameter(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value
