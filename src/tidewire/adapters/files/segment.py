"""One segment of the journal as the event loop knows it. Touches no file."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from tidewire.core.change import Relation, Transaction
from tidewire.core.position import Place
from tidewire.protocol.journal.records import (
    BODY_BYTES_MAX,
    COVER,
    RELATION,
    Header,
    encode_cover,
    encode_record,
    encode_transaction_records,
)
from tidewire.protocol.journal.transactions import encode_relation, encode_transaction

BLOCK_BYTES = 128 * 1024
"""What is read and decoded at once; a transaction is never cut, so a block may be larger."""


class Scan(msgspec.Struct):
    """What a segment's file holds, found by reading all of it.

    Attributes:
        size: How far it is whole; what lies behind was torn off or is damaged.
        covered: Everything that committed before this LSN is known.
        last: Place of the last change; None when there is none.
        relations: Versions of tables, by number.
        lsns: First commit of each block.
        offsets: Where each block begins.
    """

    size: int
    covered: int
    last: Place | None
    relations: list[Relation]
    lsns: list[int]
    offsets: list[int]


class Segment:
    """A file, or one that is about to be written: what is in it, and where.

    Attributes:
        header: What it says of itself.
        size: Bytes it has with all that was added, written or not.
        synced: Bytes that are on disk for certain.
        relations: Versions of tables, by number.
        is_known: Whether its blocks are known; else its file must be scanned first.
    """

    def __init__(self, header: Header) -> None:
        """A segment without content, not even its header; `begin` gives that."""
        self.header = header
        self.size = 0
        self.synced = 0
        self.relations: list[Relation] = []
        self.is_known = True
        self._salt = header.salt
        self._numbers: dict[Relation, int] = {}
        self._definitions: list[bytes] = []
        self._lsns: list[int] = []
        self._offsets: list[int] = []

    @classmethod
    def of_file(cls, header: Header, size: int) -> Segment:
        """A segment that an earlier run wrote."""
        segment = cls(header)
        segment.size = segment.synced = size
        segment.is_known = False
        return segment

    @property
    def number(self) -> int:
        """Its place among the segments."""
        return self.header.number

    @property
    def floor(self) -> Place:
        """Everything behind this place, up to the next segment's floor, is in it."""
        return self.header.floor

    @property
    def has_transactions(self) -> bool:
        """Whether any is in it, as far as is known."""
        return bool(self._lsns) or not self.is_known

    def learn(self, scan: Scan) -> None:
        """Take over what reading the file found."""
        self.size = self.synced = scan.size
        self.relations = scan.relations
        self._lsns, self._offsets = scan.lsns, scan.offsets
        self.is_known = True

    def begin(self, covered: int) -> bytes:
        """The file's first bytes.

        Args:
            covered: What is known at its beginning, so that the file can stand alone.
        """
        header = self.header.encode()
        self.size = len(header)
        return header + self.add_cover(covered)

    def add_cover(self, covered: int) -> bytes:
        """Note how far everything is known; gives the bytes to write."""
        record = encode_record(COVER, encode_cover(covered), seed=self._salt + self.size)
        self.size += len(record)
        return record

    def add(self, transaction: Transaction) -> bytes:
        """Add a transaction; gives the bytes to write."""
        blob = encode_transaction(transaction, self._number_of)
        offset = self.size
        if not self._offsets or offset - self._offsets[-1] >= BLOCK_BYTES:
            self._lsns.append(transaction.commit_lsn)
            self._offsets.append(offset)
        data = b""
        if self._definitions:
            data = self._take_definitions(offset)
            offset += len(data)
        records = encode_transaction_records(blob, seed=self._salt + offset)
        self.size = offset + len(records)
        return data + records if data else records

    def forget_unsynced(self) -> None:
        """Give up what is not on disk for certain."""
        self.size = self.synced
        while self._offsets and self._offsets[-1] >= self.synced:
            self._offsets.pop()
            self._lsns.pop()

    def blocks_after(self, place: Place) -> list[tuple[int, int]]:
        """Start and end, in the file, of all blocks that may hold something behind `place`."""
        assert self.is_known
        first = max(0, bisect_right(self._lsns, place[0]) - 1)
        starts = [offset for offset in self._offsets[first:] if offset < self.synced]
        return list(zip(starts, [*starts[1:], self.synced], strict=False))

    def _number_of(self, relation: Relation) -> int:
        number = self._numbers.get(relation)
        if number is None:
            number = self._numbers[relation] = len(self.relations)
            self.relations.append(relation)
            body = encode_relation(relation)
            assert len(body) <= BODY_BYTES_MAX  # 1,600 columns with the longest names fit
            self._definitions.append(body)
        return number

    def _take_definitions(self, offset: int) -> bytes:
        data = b""
        for body in self._definitions:
            data += encode_record(RELATION, body, seed=self._salt + offset + len(data))
        self._definitions.clear()
        return data
