"""Our slot and publication: looked at, made, dropped, freed.

All statements run on the replication connection, which takes simple queries too.

Source: PostgreSQL manual, "Streaming Replication Protocol", view `pg_replication_slots`.
"""

from __future__ import annotations

import re

import msgspec

from tidewire.adapters.postgres.replication import ReplicationConnection, ServerRefusalError
from tidewire.core.errors import DatabaseUnavailableError, SetupError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgwire.quoting import quote_identifier, quote_literal

UNDEFINED_OBJECT = "42704"
DUPLICATE_OBJECT = "42710"
OBJECT_IN_USE = "55006"
NOT_IN_PREREQUISITE_STATE = "55000"
UNDEFINED_FILE = "58P01"

GENERATED_COLUMNS_SINCE = 18
FAILOVER_SINCE = 17

_SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}")


class SlotState(msgspec.Struct, frozen=True):
    """A row of `pg_replication_slots`.

    Attributes:
        is_usable_here: Whether it is a logical slot of pgoutput in this database.
        described: What it is, for people.
        is_lost: Whether the server has thrown away log that it needs.
        active_pid: The process that reads it, or 0.
        confirmed: What was acknowledged last; 0 while it is being made.
    """

    is_usable_here: bool
    described: str
    is_lost: bool
    active_pid: int
    confirmed: Lsn


class ServerState(msgspec.Struct, frozen=True):
    """What the server says before a stream is started.

    Attributes:
        system_identifier: Decimal number that names the cluster.
        is_standby: Whether it only follows another server.
        has_publication: Whether our publication exists.
        has_optional: Whether the optional one does.
        slot: Our slot, or None.
    """

    system_identifier: str
    is_standby: bool
    has_publication: bool
    has_optional: bool
    slot: SlotState | None


class SlotCommands:
    """The statements about one slot and its publications.

    Args:
        slot: Name of the slot.
        publication: Name of the publication.
        optional: Name of another that is streamed too where it exists; "" for none.
        failover: Whether a standby should keep a copy of the slot (PostgreSQL 17 and later).

    Raises:
        SetupError: The slot's name is none that PostgreSQL allows.
    """

    def __init__(self, slot: str, publication: str, *, failover: bool, optional: str = "") -> None:
        if _SLOT_NAME.fullmatch(slot) is None:
            raise SetupError(
                f"{slot!r} is no name of a replication slot",
                "Use lower-case letters, digits and underscores, 63 at most.",
            )
        self.slot = slot
        self.publication = publication
        self.optional = optional
        self._failover = failover

    async def look(self, connection: ReplicationConnection) -> ServerState:
        """Read everything that decides how to go on.

        Raises:
            DatabaseUnavailableError: No answer.
        """
        system = await connection.query("IDENTIFY_SYSTEM")
        # By way of JSON, because the columns differ from version to version.
        result = await connection.query(
            "SELECT pg_is_in_recovery(),"  # noqa: S608 - names are quoted, a simple query has no parameters
            " EXISTS (SELECT FROM pg_publication WHERE pubname ="
            f" {quote_literal(self.publication)}),"
            " EXISTS (SELECT FROM pg_publication WHERE pubname ="
            f" {quote_literal(self.optional or self.publication)}),"
            " s.slot_name, s.database = current_database() AND s.plugin = 'pgoutput',"
            " concat_ws(' ', s.slot_type, s.plugin, 'slot of database', s.database),"
            " s.wal_status = 'lost' OR j->>'invalidation_reason' IS NOT NULL"
            " OR coalesce((j->>'conflicting')::bool, false),"
            " s.active_pid, s.confirmed_flush_lsn"
            " FROM (SELECT) one LEFT JOIN pg_replication_slots s"
            f" ON s.slot_name = {quote_literal(self.slot)}, to_jsonb(s) j"
        )
        if len(system.rows) != 1 or len(result.rows) != 1:
            raise DatabaseUnavailableError("the server does not describe itself")
        standby, published, optional, name, usable, described, lost, pid, confirmed = result.rows[0]
        slot = SlotState(
            is_usable_here=usable == "t",
            described=described or "",
            is_lost=lost == "t",
            active_pid=int(pid or 0),
            confirmed=Lsn.parse(confirmed) if confirmed else Lsn(0),
        )
        return ServerState(
            system_identifier=system.rows[0][0] or "0",
            is_standby=standby == "t",
            has_publication=published == "t",
            has_optional=bool(self.optional) and optional == "t",
            slot=None if name is None else slot,
        )

    async def create_publication(self, connection: ReplicationConnection) -> None:
        """Make the publication, without tables. Another who makes it first is fine.

        Raises:
            DatabaseUnavailableError: Not allowed, or no answer.
        """
        options = ""
        if _major(connection) >= GENERATED_COLUMNS_SINCE:
            # Without it an UPDATE of a table with stored generated columns and REPLICA IDENTITY
            # FULL fails in the session of whoever makes it.
            options = " WITH (publish_generated_columns = stored)"
        try:
            await connection.query(
                f"CREATE PUBLICATION {quote_identifier(self.publication)}{options}"
            )
        except ServerRefusalError as error:
            if error.report.code != DUPLICATE_OBJECT:
                raise

    async def create_slot(self, connection: ReplicationConnection, *, timeout_s: float) -> Lsn:
        """Make the slot; waits until the transactions that run now have ended.

        Returns:
            Where its history begins.

        Raises:
            DatabaseUnavailableError: Not allowed, no slot left, or not within the deadline.
        """
        failover = ", FAILOVER" if self._failover and _major(connection) >= FAILOVER_SINCE else ""
        result = await connection.query(
            f"CREATE_REPLICATION_SLOT {quote_identifier(self.slot)} LOGICAL pgoutput"
            f" (SNAPSHOT 'nothing'{failover})",
            timeout_s=timeout_s,
        )
        start = dict(zip(result.columns, result.rows[0], strict=True)).get("consistent_point")
        return Lsn.parse(start or "0/0")

    async def drop_slot(self, connection: ReplicationConnection) -> None:
        """Drop the slot; one that is gone already is fine.

        Raises:
            DatabaseUnavailableError: It is in use, or no answer.
        """
        try:
            await connection.query(f"DROP_REPLICATION_SLOT {quote_identifier(self.slot)}")
        except ServerRefusalError as error:
            if error.report.code != UNDEFINED_OBJECT:
                raise

    async def free_slot(self, connection: ReplicationConnection, application_name: str) -> bool:
        """End the connection that holds the slot if it calls itself `application_name`.

        One statement looks and acts, so that nobody who took the slot meanwhile is hit.

        Returns:
            Whether there was one.

        Raises:
            DatabaseUnavailableError: Not allowed, or no answer.
        """
        result = await connection.query(
            "SELECT pg_terminate_backend(a.pid) FROM pg_replication_slots s"  # noqa: S608 - see look
            " JOIN pg_stat_activity a ON a.pid = s.active_pid"
            f" WHERE s.slot_name = {quote_literal(self.slot)}"
            f" AND a.application_name = {quote_literal(application_name)}"
            " AND a.pid <> pg_backend_pid()"
        )
        return bool(result.rows)

    def start_statement(self, start: Lsn, *, with_optional: bool = False) -> str:
        """The statement that starts the stream behind `start`; 0 for where it was left."""
        publications = [self.publication, *([self.optional] if with_optional else [])]
        names = quote_literal(",".join([quote_identifier(name) for name in publications]))
        return (
            f"START_REPLICATION SLOT {quote_identifier(self.slot)} LOGICAL {start}"
            f" (proto_version '1', publication_names {names}, messages 'true')"
        )


def _major(connection: ReplicationConnection) -> int:
    digits = re.match(r"\d+", connection.server_version)
    return int(digits[0]) if digits else 0
