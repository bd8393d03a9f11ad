"""What a database of one's own lacks before Tidewire can work on it, and what to do.

Rights are tried, not guessed, where trying leaves nothing behind: managed databases give the
right to replicate through roles of their own making, and a pooler in front shows only when one
asks it for replication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none
import msgspec

from tidewire.adapters.postgres.connect import CONNECT_DEADLINE_S, SqlConnection, connect_raw
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.publication import DEFAULT_PUBLICATION
from tidewire.adapters.postgres.sql_errors import (
    DRIVER_ERRORS,
    address_of,
    explain_connect_failure,
)
from tidewire.adapters.postgres.table_name import quote_name

OLDEST_MAJOR = 15
OWN_SLOT_PREFIX = "tidewire"
ROLES = ("anon", "authenticated", "service_role")
SLOW_WAL_WRITER_MS = 50


class _Facts(msgspec.Struct, frozen=True):
    """What one query tells."""

    version: str
    is_replica: bool
    wal_level: str
    slots_used: int
    slots_max: int
    has_own_slot: bool
    wal_kept_max: str
    wal_writer_delay_ms: int
    is_commit_async: bool
    user: str
    database: str
    backend_pid: int
    may_make_roles: bool
    missing_roles: list[str]
    roles_not_held: list[str]
    may_create: bool
    has_publication: bool


_FACTS = """
select current_setting('server_version') as version,
       pg_is_in_recovery() as is_replica,
       current_setting('wal_level') as wal_level,
       (select count(*)::int from pg_replication_slots) as slots_used,
       current_setting('max_replication_slots')::int as slots_max,
       exists (select from pg_replication_slots where starts_with(slot_name, $1)) as has_own_slot,
       current_setting('max_slot_wal_keep_size') as wal_kept_max,
       (select setting::int from pg_settings where name = 'wal_writer_delay')
         as wal_writer_delay_ms,
       current_setting('synchronous_commit') = 'off' as is_commit_async,
       current_user::text as user, current_database()::text as database,
       pg_backend_pid() as backend_pid,
       (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)
         as may_make_roles,
       array(select w.name from unnest($2::text[]) w(name)
              where to_regrole(w.name) is null) as missing_roles,
       array(select r.rolname::text from pg_roles r
              where r.rolname = any($2::text[])
                and not pg_has_role(current_user, r.oid, {membership})) as roles_not_held,
       has_database_privilege(current_database(), 'create') as may_create,
       exists (select from pg_publication where pubname = $3) as has_publication
"""


async def check_database(
    url: str, *, publication: str = DEFAULT_PUBLICATION, timeout_s: float = CONNECT_DEADLINE_S
) -> list[Finding]:
    """Look for everything that keeps Tidewire from working on a database.

    Changes nothing there; opens two connections, each with a deadline. Never raises for what
    is wrong with the database or its address: that is in the answer.

    Args:
        url: Its address.
        publication: Name of the publication that Tidewire will use.
        timeout_s: For each of the two connections.

    Returns:
        Errors first; empty when all is well. When no connection can be made, that alone.
    """
    try:
        connection = await connect_raw(url, timeout_s=timeout_s)
    except DRIVER_ERRORS as error:
        return [explain_connect_failure(error, url)]
    try:
        findings = await _check_connected(connection, url, publication)
    except DRIVER_ERRORS as error:
        findings = [_check_failed(error, url)]
    finally:
        await _close(connection)
    return sorted(findings, key=lambda finding: finding.severity != "error")


async def _check_connected(connection: SqlConnection, url: str, publication: str) -> list[Finding]:
    number = int(await connection.fetchval("show server_version_num"))
    if number // 10_000 < OLDEST_MAJOR:
        return [_too_old(await connection.fetchval("show server_version"))]
    membership = "'SET'" if number >= 160_000 else "'MEMBER'"
    row = await connection.fetchrow(
        _FACTS.format(membership=membership), OWN_SLOT_PREFIX, list(ROLES), publication
    )
    assert row is not None, "a query without FROM has one row"
    facts = msgspec.convert(_plain(row), _Facts)
    found = [rule(facts, publication) for rule in _RULES]
    findings = [finding for finding in found if finding is not None]
    is_pooled = connection.get_server_pid() != facts.backend_pid
    # Without logical WAL and on a standby, the reason is known already.
    replication = await _check_replication(url, facts)
    if replication is not None:
        findings.append(replication)
    elif is_pooled:
        findings.append(_pooled(url))
    return findings


async def _check_replication(url: str, facts: _Facts) -> Finding | None:
    """Open a replication connection to the very database, and close it."""
    try:
        connection = await connect_raw(url, server_settings={"replication": "database"})
    except DRIVER_ERRORS as error:
        return _explain_replication(error, url, facts)
    try:
        await connection.execute("IDENTIFY_SYSTEM", timeout=CONNECT_DEADLINE_S)
    except DRIVER_ERRORS as error:
        return _explain_replication(error, url, facts)
    finally:
        await _close(connection)
    return None


def _explain_replication(error: BaseException, url: str, facts: _Facts) -> Finding:
    text = str(error)
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return Finding(
            "no_replication_right",
            "error",
            f"{facts.user} may not read the change stream: {text}",
            f"Run as a superuser: ALTER ROLE {quote_name(facts.user)} REPLICATION "
            f"(on Amazon RDS: GRANT rds_replication TO {quote_name(facts.user)})",
        )
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return Finding(
            "wal_senders_used_up",
            "error",
            f"no replication connection is free: {text}",
            "Raise max_wal_senders and restart, or end a standby or consumer that is not needed.",
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return explain_connect_failure(error, url)
    return _pooled(url, text)


def _pooled(url: str, text: str = "") -> Finding:
    said = f" ({text})" if text else ""
    return Finding(
        "pooler",
        "error" if text else "warning",
        f"{address_of(url).place} seems to be a connection pooler{said}"
        + (", and gives no replication connection" if text else ""),
        "Give the address of PostgreSQL itself: replication and session settings do not pass "
        "through a pooler.",
    )


def _too_old(version: str) -> Finding:
    return Finding(
        "version_too_old",
        "error",
        f"PostgreSQL {version} is too old",
        f"Tidewire needs PostgreSQL {OLDEST_MAJOR} or newer; upgrade, or use the embedded one.",
    )


def _check_replica(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if not facts.is_replica:
        return None
    return Finding(
        "is_standby",
        "error",
        "this server is a standby: it is read-only",
        "Give the address of the primary.",
    )


def _check_wal_level(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if facts.wal_level == "logical":
        return None
    return Finding(
        "wal_level",
        "error",
        f"wal_level is {facts.wal_level}, and the change stream needs logical",
        "Run as a superuser: ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL "
        "(on Amazon RDS: rds.logical_replication = 1; Cloud SQL: cloudsql.logical_decoding = on).",
    )


def _check_slots(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if facts.slots_used < facts.slots_max or facts.has_own_slot:
        return None
    return Finding(
        "slots_used_up",
        "error",
        f"all {facts.slots_max} replication slots are taken",
        "Drop one that is not needed (select slot_name, active from pg_replication_slots), or "
        "raise max_replication_slots and restart PostgreSQL.",
    )


def _check_roles(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if not facts.missing_roles or facts.may_make_roles:
        return None
    names = ", ".join(facts.missing_roles)
    statements = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in facts.missing_roles)
    return Finding(
        "missing_roles",
        "error",
        f"the roles {names} are absent, and {facts.user} may not make them",
        f"Run as a superuser: {statements}; GRANT {names} TO {quote_name(facts.user)}",
    )


def _check_membership(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if not facts.roles_not_held:
        return None
    names = ", ".join(facts.roles_not_held)
    return Finding(
        "roles_not_held",
        "error",
        f"{facts.user} may not act as {names}, so rights cannot be judged",
        f"Run as a superuser: GRANT {names} TO {quote_name(facts.user)}",
    )


def _check_create(facts: _Facts, publication: str) -> Finding | None:
    if facts.may_create or facts.is_replica:
        return None
    statement = (
        f"Run as the database's owner: GRANT CREATE ON DATABASE {quote_name(facts.database)} "
        f"TO {quote_name(facts.user)}"
    )
    if not facts.has_publication:
        return Finding(
            "no_publication",
            "error",
            f"the publication {publication} is absent, and {facts.user} may not make it",
            f"{statement}, or: CREATE PUBLICATION {quote_name(publication)}",
        )
    return Finding(
        "no_create_right",
        "warning",
        f"{facts.user} may make no schema in {facts.database}",
        f"Where the schemas realtime and auth are absent: {statement}",
    )


def _check_wal_kept(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if facts.wal_kept_max != "-1":
        return None
    return Finding(
        "unbounded_wal",
        "warning",
        "max_slot_wal_keep_size is unlimited: while Tidewire is away, log piles up until the "
        "disk is full",
        "Run as a superuser: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', then "
        "SELECT pg_reload_conf()",
    )


def _check_wal_writer(facts: _Facts, publication: str) -> Finding | None:
    del publication
    if not facts.is_commit_async or facts.wal_writer_delay_ms <= SLOW_WAL_WRITER_MS:
        return None
    return Finding(
        "slow_wal_writer",
        "warning",
        f"synchronous_commit is off and wal_writer_delay is {facts.wal_writer_delay_ms} ms: "
        "changes arrive that much later",
        "Run as a superuser: ALTER SYSTEM SET wal_writer_delay = '10ms', then "
        "SELECT pg_reload_conf()",
    )


_RULES: tuple[Callable[[_Facts, str], Finding | None], ...] = (
    _check_replica,
    _check_wal_level,
    _check_slots,
    _check_roles,
    _check_membership,
    _check_create,
    _check_wal_kept,
    _check_wal_writer,
)


def _check_failed(error: BaseException, url: str) -> Finding:
    return Finding(
        "check_failed",
        "error",
        f"{address_of(url).place} broke off the check: {error or type(error).__name__}",
        "Look into the log of PostgreSQL.",
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row.items())


async def _close(connection: SqlConnection) -> None:
    try:
        await connection.close(timeout=CONNECT_DEADLINE_S)
    except DRIVER_ERRORS:
        return  # it is gone, which is what was wanted
