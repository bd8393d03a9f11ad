"""Broadcasts from SQL: rows of `realtime.messages` on their way from the log to the rooms.

They come with the stream of changes: when their transaction has committed, in commit order, also
those that were inserted while the server was away. Source: wire specification 4.12.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from tidewire.core.change import Change, ChangeKind, LogicalMessage, Relation, Transaction
from tidewire.core.clock import Clock
from tidewire.core.errors import (
    BrokerUnavailableError,
    InvalidTopicError,
    ProtocolViolationError,
)
from tidewire.core.message import Message, PayloadEncoding
from tidewire.core.topic import PREFIX, Topic
from tidewire.engine.stats import Stats
from tidewire.ports.broker import Broker
from tidewire.protocol.pgoutput.row import Unchanged, split_row
from tidewire.protocol.phoenix import payloads

logger = logging.getLogger(__name__)

SCHEMA, TABLE = "realtime", "messages"
FAILED_PREFIX = "tidewire.send_failed"
"""Of the log message that tells of a `realtime.send` which only warned."""

RUN_MESSAGES = 256
"""Published one after the other before others get their turn."""

_PARTITION_PREFIX = TABLE + "_"
_EXTENSION = b"broadcast"
_TRUE = b"t"
_HEX = b"\\x"
_COLUMNS = ("id", "topic", "event", "payload", "private", "extension")
_RELATIONS_MAX = 64

_Row = dict[str, bytes | None]


class DatabaseBroadcasts:
    """Makes messages of rows, and publishes them.

    A row that cannot be sent is counted and logged, never passed over in silence. Rows that are
    not meant to be sent are: those a client's broadcast left behind, which was sent already, and
    those of other extensions.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        stats: Stats,
        *,
        payload_bytes_max: int,
        age_s_max: float,
        hold: Callable[[Message, float], None],
    ) -> None:
        """Make it.

        Args:
            broker: Takes the messages.
            clock: Says how old a row is.
            stats: Counts.
            payload_bytes_max: Of one payload; a larger one is dropped.
            age_s_max: Since its commit; an older one is dropped. What was sent while the server
                was away is of use for a while only.
            hold: Told of each message, and of when it was committed (seconds since 1970 UTC).
        """
        self._hold = hold
        self._broker = broker
        self._clock = clock
        self._stats = stats
        self._payload_bytes_max = payload_bytes_max
        self._age_s_max = age_s_max
        self._columns: dict[Relation, tuple[str, ...] | None] = {}

    def message_of(self, change: Change, committed_at_us: int) -> Message | None:
        """The message that a change is; None when it is none, or cannot be sent."""
        is_insert = change.kind is ChangeKind.INSERT
        names = self._names_of(change.relation) if is_insert else None
        if names is None or change.new is None:
            return None
        try:
            row = self._read(change.new, names)
            if row["extension"] != _EXTENSION or row.get("skip_broadcast") == _TRUE:
                return None
            message = _message(row)
        except (ProtocolViolationError, InvalidTopicError, ValueError) as error:
            self._drop("a row that is no broadcast", kind=type(error).__name__)
            return None
        if not self._may_be_sent(message, committed_at_us):
            return None
        self._hold(message, committed_at_us / 1e6)
        return message

    def _may_be_sent(self, message: Message, committed_at_us: int) -> bool:
        size_bytes = len(message.body)
        if size_bytes > self._payload_bytes_max:
            self._drop("payload too large", topic=message.topic, size_bytes=size_bytes)
            return False
        age_s = self._clock.wall_s() - committed_at_us / 1e6
        if age_s > self._age_s_max:
            self._drop("too old", topic=message.topic, age_s=round(age_s))
            return False
        return True

    def publish(self, message: Message) -> None:
        """Hand a message to the broker. Never waits."""
        try:
            self._broker.publish(message)
        except BrokerUnavailableError:
            self._drop("the broker did not take it", topic=message.topic)
        else:
            self._stats.database_broadcasts_total += 1

    async def publish_all(
        self, transactions: Sequence[Transaction], pace: Callable[[], Awaitable[None]]
    ) -> None:
        """Publish what there is in whole transactions, when no other change of them matters.

        Args:
            transactions: In commit order.
            pace: Awaited between runs of messages, so that receivers can catch up.
        """
        count = 0
        for transaction in transactions:
            if transaction.overflowed:
                self.note_overflow()
            for item in transaction.changes:
                if isinstance(item, LogicalMessage):
                    continue
                message = self.message_of(item, transaction.committed_at_us)
                if message is None:
                    continue
                self.publish(message)
                count += 1
                if count % RUN_MESSAGES == 0:
                    await pace()

    def on_message(self, content: bytes) -> None:
        """Count a `realtime.send` that failed with a warning only; the content is its topic."""
        self._stats.send_failures_total += 1
        topic = content.decode("utf-8", "replace")
        logger.warning("realtime.send failed in the database", extra={"topic": topic})

    def on_gap(self) -> None:
        """Some may have been missed; nothing is made up for them."""

    def note_overflow(self) -> None:
        """A transaction was too large to be read: what it sent is lost."""
        self._drop("they may have been in a transaction that was too large to be read")

    def _names_of(self, relation: Relation) -> tuple[str, ...] | None:
        """The columns of a table of messages; None for any other table."""
        if relation in self._columns:
            return self._columns[relation]
        if len(self._columns) >= _RELATIONS_MAX:
            self._columns.clear()
        names = tuple(column.name for column in relation.columns)
        is_messages = relation.schema == SCHEMA and (
            relation.name == TABLE or relation.name.startswith(_PARTITION_PREFIX)
        )
        found = names if is_messages and set(_COLUMNS) <= set(names) else None
        self._columns[relation] = found
        return found

    def _read(self, data: bytes, names: tuple[str, ...]) -> _Row:
        values = split_row(data)
        if len(values) != len(names):
            raise ProtocolViolationError("a row of another shape than its table")
        return {
            name: None if isinstance(value, Unchanged) else value
            for name, value in zip(names, values, strict=True)
        }

    def _drop(self, reason: str, **told: object) -> None:
        self._stats.database_broadcasts_dropped_total += 1
        logger.warning("broadcasts from SQL dropped", extra={"reason": reason, **told})


def _message(row: _Row) -> Message:
    """Raises: InvalidTopicError, or ValueError when a value is none of its type."""
    topic = Topic.parse(PREFIX + (row["topic"] or b"").decode(), private=row["private"] == _TRUE)
    identifier = (row["id"] or b"").decode("ascii")
    payload, binary = row["payload"], row.get("binary_payload")
    encoding = PayloadEncoding.JSON
    if payload is None:
        if binary is None or not binary.startswith(_HEX):
            raise ValueError("neither payload nor binary_payload")
        payload, encoding = bytes.fromhex(binary[2:].decode("ascii")), PayloadEncoding.BINARY
    elif not payload.isascii():
        payload = _as_utf8(payload)
    return Message(
        topic.key,
        (row["event"] or b"").decode(),
        payload,
        encoding=encoding,
        meta=payloads.row_meta(identifier),
        row_id=identifier,
    )


def _as_utf8(text: bytes) -> bytes:
    """Replace what is no UTF-8, which a database in SQL_ASCII may hold."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text
