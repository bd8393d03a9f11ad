"""The `data` object of a postgres_changes frame, put together from rendered bytes.

A `ChangeShape` is how one version of a table looks to all who see the same columns of it; it
renders a change once for all of them who are told the same of it. Nothing here is decoded or
encoded again.

Source: wire specification 6.1, 6.3, 6.4.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping

from tidewire.core.catalog import Table, TypeInfo
from tidewire.core.change import Change, ChangeKind, Relation
from tidewire.engine.outcome import Outcome
from tidewire.protocol.pgoutput.render import RowRenderer
from tidewire.protocol.pgoutput.row import split_row
from tidewire.protocol.phoenix.codec_json import quote

RECORD_BYTES_MAX = 1_048_576
KEPT_TEXT_BYTES_MAX = 64

NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"
TOO_LARGE = "Error 413: Payload Too Large"
POLICY_FAILED = "Error 500: Internal Server Error, RLS policy evaluation failed"
NOT_RENDERED = "Error 500: Internal Server Error, the change could not be rendered"

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NOTHING_IN_ROWS = {
    ChangeKind.INSERT: b'"columns":[],"record":{}',
    ChangeKind.UPDATE: b'"columns":[],"record":{},"old_record":{}',
    ChangeKind.DELETE: b'"columns":[],"old_record":{}',
}

# Keys that only those get who asked for leaves.
_MARKS = {
    Outcome.LEFT: b',"left":true',
    Outcome.ENTERED: b',"entered":true',
    Outcome.ENTERED_CUT: b',"entered":true',
}


def commit_timestamp(committed_at_us: int) -> bytes:
    """Microseconds since 1970 UTC as ISO 8601 with milliseconds and a literal Z."""
    seconds, microseconds = divmod(committed_at_us, 1_000_000)
    return b"%b.%03dZ" % (_to_the_second(seconds), microseconds // 1000)


@functools.lru_cache(maxsize=16)
def _to_the_second(seconds: int) -> bytes:
    """Kept, because commits come many to a second and this is most of a timestamp's cost."""
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()[:19].encode()


class ChangeShape:
    """How changes of one relation look to those who see certain columns.

    Attributes:
        key_columns: Names of the table's primary key.
    """

    __slots__ = (
        "_columns",
        "_error",
        "_heads",
        "_keys",
        "_relation",
        "_renderer",
        "_types",
        "key_columns",
    )

    def __init__(
        self,
        relation: Relation,
        table: Table,
        types: Mapping[int, TypeInfo],
        columns: frozenset[str],
        *,
        readable: frozenset[str],
    ) -> None:
        """Work out how changes look.

        Args:
            relation: The version of the table that changes were written with.
            table: The table as the catalogue has it.
            types: Data types by oid.
            columns: What is to be shown.
            readable: What the role may read: without the whole primary key it gets errors.
        """
        key = frozenset(column.name for column in table.columns if column.is_primary_key)
        self.key_columns = key
        self._relation = relation
        self._types = types
        self._columns = columns
        self._renderer = RowRenderer(relation, types, columns)
        self._keys = RowRenderer(relation, types, columns & key)
        self._error = "" if key <= readable else UNAUTHORIZED
        if not key:
            self._error = NO_PRIMARY_KEY
        self._heads = {kind: self._head(kind) for kind in _NOTHING_IN_ROWS}

    def is_refused(self, kind: ChangeKind) -> bool:
        """Whether changes of this kind are told as an error, whatever their rows hold."""
        error = self._error
        return bool(error) and not (error is NO_PRIMARY_KEY and kind is ChangeKind.DELETE)

    def data(self, change: Change, timestamp: bytes, outcome: Outcome = Outcome.PLAIN) -> bytes:
        """The change as a JSON object.

        Args:
            change: A row change of the relation.
            timestamp: As `commit_timestamp` makes it.
            outcome: How it is to be told.

        Raises:
            ProtocolViolationError: The row is none of the relation's.
        """
        kind = change.kind
        if self.is_refused(kind):
            return self.error_data(change, timestamp, self._error)
        if outcome is Outcome.FAILED:
            return self.error_data(change, timestamp, POLICY_FAILED)
        if outcome is Outcome.LEFT or outcome is Outcome.KEY:
            return self._gone(change, timestamp, outcome)
        if len(change.new or b"") + len(change.old or b"") > RECORD_BYTES_MAX:
            return self._too_large(change, timestamp, outcome)
        return b'%b%b",%b,"errors":null%b}' % (
            self._heads[kind],
            timestamp,
            _rows(change, self._renderer, outcome),
            _MARKS.get(outcome, b""),
        )

    def error_data(self, change: Change, timestamp: bytes, error: str) -> bytes:
        """The change without its rows, saying why. With a timestamp, or supabase-py drops it."""
        return b'{"schema":%b,"table":%b,"type":"%b","commit_timestamp":"%b",%b,"errors":[%b]}' % (
            quote(self._relation.schema),
            quote(self._relation.name),
            change.kind.value.encode(),
            timestamp,
            _NOTHING_IN_ROWS[change.kind],
            quote(error),
        )

    def _gone(self, change: Change, timestamp: bytes, outcome: Outcome) -> bytes:
        """A DELETE that shows the primary key only."""
        old = change.old
        return b'%b%b","old_record":%b,"errors":null%b}' % (
            self._heads[ChangeKind.DELETE],
            timestamp,
            b"{}"
            if old is None
            else self._keys.render(old)
            if change.old_is_full
            else self._keys.render_key(old),
            _MARKS.get(outcome, b""),
        )

    def _too_large(self, change: Change, timestamp: bytes, outcome: Outcome) -> bytes:
        small = self._columns & self._small_columns(change)
        renderer = RowRenderer(self._relation, self._types, small)
        return b'%b%b",%b,"errors":[%b]%b}' % (
            self._heads[change.kind],
            timestamp,
            _rows(change, renderer, outcome),
            quote(TOO_LARGE),
            _MARKS.get(outcome, b""),
        )

    def _small_columns(self, change: Change) -> frozenset[str]:
        """Names of the columns whose text is short in every row that the change carries."""
        small = {column.name for column in self._relation.columns}
        for row in (change.new, change.old):
            if row is not None:
                values = zip(self._relation.columns, split_row(row), strict=True)
                small -= {
                    column.name
                    for column, value in values
                    if isinstance(value, bytes) and len(value) > KEPT_TEXT_BYTES_MAX
                }
        return frozenset(small)

    def _head(self, kind: ChangeKind) -> bytes:
        return b'{"schema":%b,"table":%b,"type":"%b","columns":%b,"commit_timestamp":"' % (
            quote(self._relation.schema),
            quote(self._relation.name),
            kind.value.encode(),
            self._renderer.columns_json,
        )


def _rows(change: Change, renderer: RowRenderer, outcome: Outcome) -> bytes:
    """`record`, `old_record` or both (6.3)."""
    new, old = change.new, change.old
    if new is None:
        return b'"old_record":' + _old_record(renderer, old, is_full=change.old_is_full)
    fallback = old if change.old_is_full else None
    record = b'"record":' + renderer.render(new, fallback)
    if change.kind is ChangeKind.INSERT:
        return record
    if outcome is Outcome.CUT or outcome is Outcome.ENTERED_CUT:
        return record + b',"old_record":{}'
    if old is None:
        # The key did not change, so the log has no old row: the new one holds the same key.
        return b'%b,"old_record":%b' % (record, renderer.render_key(new))
    old_record = _old_record(renderer, old, is_full=change.old_is_full)
    return b'%b,"old_record":%b' % (record, old_record)


def _old_record(renderer: RowRenderer, old: bytes | None, *, is_full: bool) -> bytes:
    if old is None:
        return b"{}"
    return renderer.render(old) if is_full else renderer.render_key(old)
