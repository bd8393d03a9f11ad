"""The state of a database that Tidewire works on: its slot, and the tables it publishes.

What keeps it from working at all is preflight's to find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidewire.adapters.postgres.connect import connection_to
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.publication import DEFAULT_PUBLICATION

LAG_WARNING_BYTES = 256 << 20


class SlotReport(msgspec.Struct, frozen=True):
    """How the replication slot is.

    Attributes:
        name: Its name.
        is_active: Whether a server reads it now.
        wal_status: ``reserved``, ``extended``, ``unreserved`` or ``lost``.
        lag_bytes: Log that PostgreSQL keeps for it and that was not acknowledged yet.
    """

    name: str
    is_active: bool
    wal_status: str
    lag_bytes: int


class TableReport(msgspec.Struct, frozen=True):
    """One published table.

    Attributes:
        name: ``schema.table``.
        identity: What old rows hold: ``default``, ``full``, ``index`` or ``nothing``.
        has_key: Whether it has a primary key.
        has_row_security: Whether row security is on.
    """

    name: str
    identity: str
    has_key: bool
    has_row_security: bool


class Diagnosis(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        version: Of PostgreSQL.
        slot: None when it does not exist.
        tables: Of the publication, by name.
        findings: What a person should know or mend.
    """

    version: str
    slot: SlotReport | None
    tables: list[TableReport]
    findings: list[Finding]


_SLOT = """
select slot_name::text as name, active as is_active, coalesce(wal_status, 'unknown') as wal_status,
       greatest(0, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0))::int8
         as lag_bytes
  from pg_replication_slots where slot_name = $1 and database = current_database()
"""

_TABLES = """
select format('%s.%s', n.nspname, c.relname) as name,
       case c.relreplident when 'd' then 'default' when 'f' then 'full' when 'i' then 'index'
         else 'nothing' end as identity,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid)
         as has_key,
       c.relrowsecurity as has_row_security
  from pg_publication_tables t
  join pg_namespace n on n.nspname = t.schemaname
  join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
 where t.pubname = $1 order by 1
"""


async def diagnose(url: str, *, slot: str, publication: str = DEFAULT_PUBLICATION) -> Diagnosis:
    """Look; changes nothing.

    Raises:
        DatabaseUnavailableError: No answer.
        SetupError: The database refused the connection.
    """
    async with connection_to(url) as connection:
        version = await connection.fetchval("show server_version")
        slot_row = await connection.fetchrow(_SLOT, slot)
        table_rows = await connection.fetch(_TABLES, publication)
    found = None if slot_row is None else msgspec.convert(_plain(slot_row), SlotReport)
    tables = [msgspec.convert(_plain(row), TableReport) for row in table_rows]
    findings = [*_slot_findings(found, slot), *_table_findings(tables, publication)]
    return Diagnosis(version, found, tables, findings)


def _slot_findings(slot: SlotReport | None, name: str) -> list[Finding]:
    if slot is None:
        problem = f"the replication slot {name} does not exist yet"
        return [Finding("slot_absent", "warning", problem, "It is made when the server starts.")]
    if slot.wal_status == "lost":
        problem = f"the replication slot {name} is lost: PostgreSQL threw away log it needed"
        advice = (
            "The server makes a new one and tells its clients to fetch anew. Raise "
            "max_slot_wal_keep_size if this comes again."
        )
        return [Finding("slot_lost", "error", problem, advice)]
    if not slot.is_active and slot.lag_bytes > LAG_WARNING_BYTES:
        problem = (
            f"nobody reads the slot {name}, and PostgreSQL keeps {slot.lag_bytes >> 20} MB for it"
        )
        advice = f"Start the server, or drop it: SELECT pg_drop_replication_slot('{name}')"
        return [Finding("slot_idle", "warning", problem, advice)]
    if slot.lag_bytes > LAG_WARNING_BYTES:
        problem = f"the stream is {slot.lag_bytes >> 20} MB behind"
        return [Finding("slot_lag", "warning", problem, "See /metrics and the log of the server.")]
    return []


def _table_findings(tables: Sequence[TableReport], publication: str) -> list[Finding]:
    if not tables:
        problem = f"the publication {publication} holds no table, so there is nothing to see"
        return [Finding("no_tables", "warning", problem, "Run: tidewire enable TABLE")]
    findings: list[Finding] = []
    for table in tables:
        is_keyless = table.identity == "default" and not table.has_key
        if is_keyless or table.identity == "nothing":
            problem = f"{table.name} has no replica identity: its UPDATEs and DELETEs fail"
            advice = f"Add a primary key, or run: tidewire enable {table.name} --full"
            findings.append(Finding("no_identity", "error", problem, advice))
    return findings


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row.items())
