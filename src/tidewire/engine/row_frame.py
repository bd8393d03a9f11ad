"""A frame that tells one change of one row, and what tells it from frames about other rows.

The latter is worked out only for a receiver that reads too slowly; nobody else pays for it.
"""

from __future__ import annotations

import msgspec

from tidewire.core.change import Change, ChangeKind
from tidewire.engine.fanout import LANES, Envelope, EnvelopedFrame
from tidewire.protocol.pgoutput.row import UNCHANGED, Unchanged, split_row

_PLAIN_END = b'"errors":null}'
"""How a change ends that shows its row whole and has nothing else to say."""

Place = tuple[int, tuple[bytes | None, ...]]
"""A table and the key of one of its rows."""


class RowTag(msgspec.Struct, frozen=True, gc=False):
    """What a frame says of which row.

    Attributes:
        place: The row, by its key after the change.
        former: Its key before, when that was another.
        kind: What happened to it.
        unchanged: Columns that the frame does not show, because the log does not.
    """

    place: Place
    former: Place | None
    kind: ChangeKind
    unchanged: frozenset[int] = frozenset[int]()


class RowFrame(EnvelopedFrame):
    """A postgres_changes frame."""

    __slots__ = ("_change", "_key_columns", "_tag")

    def __init__(
        self, envelope: Envelope, body: bytes, change: Change, key_columns: frozenset[str]
    ) -> None:
        """Make it.

        Args:
            envelope: What stands around `body`: one object for each group and set of entries.
            body: The change as it is told.
            change: The change.
            key_columns: Names of the table's primary key.
        """
        # Said here and not by the base: there is one of these for each frame of each change.
        self._envelope = envelope
        self._body = body
        self._frames = [None] * LANES
        self._change = change
        self._key_columns = key_columns
        self._tag: RowTag | bool | None = False

    @property
    def tag(self) -> RowTag | None:
        """What it says of which row; None when that cannot be said, as with errors."""
        if isinstance(self._tag, bool):
            is_plain = self._body.endswith(_PLAIN_END)
            self._tag = _tag_of(self._change, self._key_columns) if is_plain else None
        return self._tag

    def supersedes(self, earlier: RowFrame) -> bool:
        """Whether `earlier`, a frame of the same row, may be left out because this one follows.

        It may when this one tells its entries all that they need to know. An INSERT is
        therefore kept before an UPDATE: it says that the row came. A DELETE says everything. An
        UPDATE whose log left columns out does not make up for one that showed them.
        """
        mine, other = self.tag, earlier.tag
        if mine is None or other is None or mine.former or other.former:
            return False
        if self._envelope is not earlier._envelope:
            return False
        if mine.kind is ChangeKind.DELETE:
            return True
        return other.kind is ChangeKind.UPDATE and mine.unchanged <= other.unchanged


def _tag_of(change: Change, key_columns: frozenset[str]) -> RowTag | None:
    columns = change.relation.columns
    # Under REPLICA IDENTITY FULL every column is a key of the log; the table's own key tells.
    key = [i for i, column in enumerate(columns) if column.is_key]
    if change.old_is_full or len(key) == len(columns):
        key = [i for i, column in enumerate(columns) if column.name in key_columns]
    new = split_row(change.new) if change.new is not None else None
    old = split_row(change.old) if change.old is not None else None
    row = old if change.kind is ChangeKind.DELETE else new
    if not key or row is None:
        return None
    oid = change.relation.oid
    former = _place(oid, old, key) if old is not None else None
    place = _place(oid, row, key) or former  # an untouched long key is the former one
    if place is None or change.kind is ChangeKind.DELETE:
        return RowTag(place, None, change.kind) if place else None
    unchanged = [i for i, cell in enumerate(row) if cell is UNCHANGED]
    if change.old_is_full:
        unchanged.clear()  # the old row filled them in
    return RowTag(place, None if former == place else former, change.kind, frozenset(unchanged))


def _place(oid: int, row: list[bytes | Unchanged | None], key: list[int]) -> Place | None:
    cells: list[bytes | None] = []
    for i in key:
        cell = row[i]
        if isinstance(cell, Unchanged):
            return None
        cells.append(cell)
    return (oid, tuple(cells))
