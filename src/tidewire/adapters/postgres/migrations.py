"""Applying the numbered files of `tidewire.sql` to a database, ours or somebody else's.

A file holds steps. ``-- step: NAME`` begins one that must succeed; ``-- optional: NAME`` one
that is left out where rights are missing, and the line ``-- without it: ADVICE`` below says
what that means. Each file is one transaction under an advisory lock, recorded by name, so that
it runs once however many migrators there are. Warnings that a step raises under the SQLSTATE
`TW001` become notes.

The record lies in `realtime.tidewire_migrations`; where the schema `realtime` belongs to
somebody who lets us make no table there (as Supabase's cloud), in `tidewire.tidewire_migrations`.
"""

from __future__ import annotations

import importlib.resources
import logging
import re
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none
import msgspec

from tidewire.adapters.postgres.connect import SqlConnection, connection_to
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.messages_publication import ensure_messages_publication
from tidewire.adapters.postgres.publication import DEFAULT_PUBLICATION, ensure_publication
from tidewire.core.errors import DatabaseUnavailableError, SetupError

LOCK_KEY = 0x7469_6465_7769_7265  # "tidewire"
LOCK_DEADLINE_S = 20.0
NOTE_STATE = "TW001"
RECORD_TABLE = "tidewire_migrations"
RECORD_SCHEMAS = ("realtime", "tidewire")

_FILE_NAME = re.compile(r"\d{4}_\w+\.sql")
_STEP = re.compile(r"^-- (step|optional): (.+)$", re.MULTILINE)
_ADVICE = re.compile(r"^-- without it: (.+)$", re.MULTILINE)
_MISSING_RIGHT = (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)

# A look into the catalogue itself: `to_regclass` may answer from what this session remembered
# before it waited for the lock.
_HAS_RECORD = """
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = $2)
"""

logger = logging.getLogger(__name__)


class Step(msgspec.Struct, frozen=True):
    """One step of a file.

    Attributes:
        name: What it makes.
        statements: SQL, without parameters.
        is_optional: Whether missing rights are no failure.
        advice: What its absence means; "" for a step that must succeed.
    """

    name: str
    statements: str
    is_optional: bool = False
    advice: str = ""


class Migration(msgspec.Struct, frozen=True):
    """One file: its name without ending, and its steps in order."""

    name: str
    steps: tuple[Step, ...]


class MigrationReport(msgspec.Struct, frozen=True):
    """What a run did.

    Attributes:
        applied: Names of the files applied now, in order.
        notes: What could not be made for want of rights.
    """

    applied: list[str]
    notes: list[Finding]


def read_migrations() -> list[Migration]:
    """All files of the package `tidewire.sql`, by number."""
    files = importlib.resources.files("tidewire.sql").iterdir()
    named = sorted(
        (file for file in files if _FILE_NAME.fullmatch(file.name)), key=lambda f: f.name
    )
    return [parse_migration(file.name.removesuffix(".sql"), file.read_text()) for file in named]


def parse_migration(name: str, text: str) -> Migration:
    """Split a file into its steps.

    Raises:
        ValueError: It has none, or statements before the first.
    """
    heads = list(_STEP.finditer(text))
    before = text[: heads[0].start()] if heads else text
    if not heads or any(line and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{name}: every statement belongs to a step")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    steps: list[Step] = []
    for head, end in zip(heads, ends, strict=True):
        body = text[head.end() : end].strip()
        advice = _ADVICE.search(body)
        steps.append(
            Step(head[2].strip(), body, head[1] == "optional", advice[1] if advice else "")
        )
    return Migration(name, tuple(steps))


async def migrate(url: str, *, publication: str = DEFAULT_PUBLICATION) -> list[str]:
    """Bring a database to this version; what is done already is left alone.

    Safe to run again, at the same time by several, and beside an existing Supabase database:
    nothing that exists is replaced. What was skipped for want of rights is logged; use
    `migrate_with_report` to have it.

    Returns:
        The names applied now, in order.

    Raises:
        DatabaseUnavailableError: No answer, or the lock was not free in time.
        SetupError: A right is missing without which Tidewire cannot work.
    """
    report = await migrate_with_report(url, publication=publication)
    for note in report.notes:
        logger.warning("migration: %s", note.problem, extra={"advice": note.advice})
    return report.applied


async def migrate_with_report(
    url: str, *, publication: str = DEFAULT_PUBLICATION
) -> MigrationReport:
    """As `migrate`, with notes of what was skipped."""
    async with connection_to(url) as connection:
        notes: list[Finding] = []
        connection.add_log_listener(lambda _, message: _listen(message, notes))
        try:
            applied = await _apply_all(connection, notes)
            # Outside the record: a publication that somebody dropped comes back, and a slot
            # made after it never reads from before it.
            await ensure_publication(connection, publication)
            missing = await ensure_messages_publication(connection)
            notes += [missing] if missing is not None else []
        except asyncpg.LockNotAvailableError as error:
            raise DatabaseUnavailableError(
                f"another migration holds the lock for more than {LOCK_DEADLINE_S:.0f} s"
            ) from error
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
            raise DatabaseUnavailableError(f"the database went away: {error}") from error
        await connection.execute("select 1")  # every notice before it has been told by now
        return MigrationReport(applied, notes)


async def _apply_all(connection: SqlConnection, notes: list[Finding]) -> list[str]:
    migrations = read_migrations()
    recorded = await _recorded(connection)
    missing = [migration for migration in migrations if migration.name not in recorded]
    applied: list[str] = []
    for migration in missing:
        if await _apply(connection, migration, notes):
            applied.append(migration.name)
            logger.info("applied a migration", extra={"migration": migration.name})
    return applied


async def _apply(connection: SqlConnection, migration: Migration, notes: list[Finding]) -> bool:
    """Apply one file in one transaction; False when another migrator was first."""
    async with connection.transaction():
        await connection.execute(
            f"set local lock_timeout = '{LOCK_DEADLINE_S:.0f}s'; set local search_path = pg_catalog"
        )
        await connection.execute(f"select pg_advisory_xact_lock({LOCK_KEY})")
        if migration.name in await _recorded(connection):
            return False
        schema = await _record_schema(connection, notes)
        for step in migration.steps:
            await _run_step(connection, migration, step, notes)
        if schema is not None:
            await connection.execute(
                f"insert into {schema}.{RECORD_TABLE} (name) values ($1)",  # noqa: S608 (one of two constants)
                migration.name,
            )
    return True


async def _run_step(
    connection: SqlConnection, migration: Migration, step: Step, notes: list[Finding]
) -> None:
    try:
        async with connection.transaction():
            await connection.execute(step.statements)
    except asyncpg.PostgresError as error:
        if not step.is_optional or not isinstance(error, _MISSING_RIGHT):
            raise _step_error(migration, step, error) from error
        notes.append(
            Finding("migration_skipped", "warning", f"left out {step.name}: {error}", step.advice)
        )


def _step_error(migration: Migration, step: Step, error: asyncpg.PostgresError) -> Exception:
    if isinstance(error, asyncpg.LockNotAvailableError):
        return error
    advice = "Run the migration once as a superuser or as the owner of the database."
    if not isinstance(error, _MISSING_RIGHT):
        advice = "This is a fault of Tidewire, or the database has an object of that name."
    return SetupError(f"migration {migration.name} failed at {step.name}: {error}", advice)


async def _recorded(connection: SqlConnection) -> set[str]:
    names: set[str] = set()
    for schema in RECORD_SCHEMAS:
        table = f"{schema}.{RECORD_TABLE}"
        if await connection.fetchval(_HAS_RECORD, schema, RECORD_TABLE):
            rows = await connection.fetch(f"select name from {table}")  # noqa: S608 (one of two constants)
            names.update(row["name"] for row in rows)
    return names


async def _record_schema(connection: SqlConnection, notes: list[Finding]) -> str | None:
    """Make the record's table where it may be; None when it may be nowhere.

    Then every run does all steps again, which they bear.
    """
    problem: Exception | None = None
    for schema in RECORD_SCHEMAS:
        table = f"{schema}.{RECORD_TABLE}"
        if await connection.fetchval(_HAS_RECORD, schema, RECORD_TABLE):
            return schema
        try:
            async with connection.transaction():
                if await connection.fetchval("select to_regnamespace($1) is null", schema):
                    await connection.execute(f"create schema {schema}")
                await connection.execute(
                    f"create table {table} ("
                    " name text primary key, applied_at timestamptz not null default now())"
                )
        except asyncpg.InsufficientPrivilegeError as error:
            problem = error
            continue
        return schema
    note = Finding(
        "migrations_unrecorded",
        "warning",
        f"migrations cannot be recorded: {problem}",
        "They are checked again at every start. Grant CREATE on the schema realtime or on the "
        "database to have them recorded.",
    )
    if note not in notes:
        notes.append(note)
    return None


def _listen(message: Any, notes: list[Finding]) -> None:
    if getattr(message, "sqlstate", None) == NOTE_STATE:
        advice = getattr(message, "hint", None) or ""
        notes.append(Finding("migration_note", "warning", message.message, advice))
