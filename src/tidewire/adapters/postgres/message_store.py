"""The table `realtime.messages`: replay, keeping, partitions.

Everything runs under the server's own role. Who may replay or keep is decided before.
Source: wire specification 4.10 to 4.12.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from tidewire.adapters.postgres.query_session import QuerySession, Row, StatementError
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.message import PayloadEncoding
from tidewire.ports.message_store import NewMessage, StoredMessage

logger = logging.getLogger(__name__)

SINCE_MS_MAX = 253_402_300_799_000
"""The end of the year 9999, well within PostgreSQL's timestamps."""

KEEP_DEADLINE_S = 60.0

_COLUMNS = """
select coalesce(array_agg(attname::text), '{}') as names from pg_attribute
 where attrelid = to_regclass('realtime.messages') and attnum > 0 and not attisdropped
"""

_RECENT = """
select m.id::text as id, m.event, m.payload::text as payload, {binary} as binary_payload
  from realtime.messages m
 where m.topic = $1 and m.private and m.extension = 'broadcast'
   and m.inserted_at >= (timestamp 'epoch' + $2::bigint * interval '1 millisecond')
   and m.inserted_at < (now() at time zone 'utc') + interval '1 minute'
   and {alive}
 order by m.inserted_at desc, m.id desc
 limit $3
"""
_ALIVE = "(m.expires_at is null or m.expires_at > now() at time zone 'utc')"

_INSERT = """
insert into realtime.messages
  (id, topic, extension, private, skip_broadcast, event, payload, binary_payload,
   inserted_at, updated_at, expires_at)
select n.id::uuid, n.topic, 'broadcast', true, true, n.event, n.payload::jsonb, n.body,
       n.sent_at, n.sent_at, n.sent_at + n.ttl_s * interval '1 second'
  from (select id, topic, event, payload, body, ttl_s,
               timestamp 'epoch' + sent_at_us * interval '1 microsecond' as sent_at
          from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[],
                      $6::bigint[], $7::int[])
               as u(id, topic, event, payload, body, sent_at_us, ttl_s)) n
"""
_NEEDED_TO_INSERT = {"binary_payload", "skip_broadcast", "expires_at"}

_THERE = """
select to_regclass('realtime.tidewire_broadcast_settings') is not null as has_settings,
       to_regprocedure('realtime.tidewire_keep_messages(integer)') is not null as has_keeping
"""
_KEEP = "select realtime.tidewire_keep_messages($1)::text"
_TELL_LIMIT = """
update realtime.tidewire_broadcast_settings set payload_bytes_max = $1
 where payload_bytes_max <> $1
"""


class PostgresMessageStore:
    """Implements `ports.message_store.MessageStore`."""

    def __init__(self, dsn: str, *, deadline_s: float = 5.0) -> None:
        """Connect on the first question.

        Args:
            dsn: Where the database is.
            deadline_s: Seconds after which a question fails as unanswered.
        """
        # Connections of their own: work on partitions must hold up neither joins nor writers.
        self._reading = QuerySession(
            dsn, deadline_s=deadline_s, statement_timeout_s=deadline_s, name="tidewire replay"
        )
        self._writing = QuerySession(
            dsn,
            deadline_s=deadline_s,
            statement_timeout_s=deadline_s,
            name="tidewire messages",
            may_write=True,
        )
        self._keeping = QuerySession(
            dsn,
            deadline_s=KEEP_DEADLINE_S,
            statement_timeout_s=KEEP_DEADLINE_S,
            name="tidewire partitions",
            may_write=True,
        )
        self._columns: frozenset[str] = frozenset()

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[StoredMessage]:
        """See `MessageStore.recent`."""
        since_ms = min(max(since_ms, 0), SINCE_MS_MAX)
        try:
            columns = await self._known_columns()
            query = _RECENT.format(
                binary="m.binary_payload" if "binary_payload" in columns else "null::bytea",
                alive=_ALIVE if "expires_at" in columns else "true",
            )
            rows = await self._reading.fetch(query, topic, since_ms, limit)
        except StatementError as error:
            self._columns = frozenset()
            raise DatabaseUnavailableError(f"messages cannot be read: {error}") from error
        return [_stored(row) for row in reversed(rows)]

    async def insert(self, messages: Sequence[NewMessage]) -> frozenset[str]:
        """See `MessageStore.insert`."""
        if not await self._can_insert():
            return frozenset()
        try:
            await self._writing.fetch(_INSERT, *_arguments(messages))
        except StatementError as error:
            if len(messages) > 1:
                kept = [await self.insert([message]) for message in messages]
                return frozenset(name for names in kept for name in names)
            logger.warning("a message cannot be kept", extra={"reason": _sqlstate(error)})
            return frozenset()
        return frozenset(message.id for message in messages)

    async def keep(self, *, retention_days: int, payload_bytes_max: int) -> str:
        """See `MessageStore.keep`."""
        self._columns = frozenset()
        try:
            async with self._keeping.connected() as connection:
                row = await connection.fetchrow(_THERE)
                assert row is not None, "a query without FROM has one row"
                if row["has_settings"]:
                    await connection.fetch(_TELL_LIMIT, payload_bytes_max)
                if not row["has_keeping"]:
                    return "nothing: the function could not be made, see the migrations' notes"
                return str(await connection.fetchval(_KEEP, retention_days))
        except StatementError as error:
            raise DatabaseUnavailableError(f"partitions cannot be kept: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        for session in (self._reading, self._writing, self._keeping):
            await session.close()

    async def _can_insert(self) -> bool:
        return await self._known_columns() >= _NEEDED_TO_INSERT

    async def _known_columns(self) -> frozenset[str]:
        """What the table has; a database of an older Supabase lacks some."""
        if not self._columns:
            (row,) = await self._reading.fetch(_COLUMNS)
            self._columns = frozenset(row["names"])
        return self._columns


def _arguments(messages: Sequence[NewMessage]) -> list[list[Any]]:
    is_json = [message.encoding is PayloadEncoding.JSON for message in messages]
    return [
        [message.id for message in messages],
        [message.topic for message in messages],
        [message.event for message in messages],
        [m.body.decode() if json else None for m, json in zip(messages, is_json, strict=True)],
        [None if json else m.body for m, json in zip(messages, is_json, strict=True)],
        [int(message.sent_at_s * 1e6) for message in messages],
        [message.ttl_s for message in messages],
    ]


def _stored(row: Row) -> StoredMessage:
    payload, body = row["payload"], row["binary_payload"]
    event = row["event"] or ""
    if payload is None:
        return StoredMessage(row["id"], event, bytes(body or b""), PayloadEncoding.BINARY)
    return StoredMessage(row["id"], event, payload.encode(), PayloadEncoding.JSON)


def _sqlstate(error: StatementError) -> str:
    """Which kind of error, without its text: that may quote the message."""
    return str(getattr(error.__cause__, "sqlstate", "") or type(error.__cause__).__name__)
