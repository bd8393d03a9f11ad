"""The journal's files: found, scanned, written, read, removed. Runs in worker threads.

    00000001.segment   its records begin behind those of the segment before it
    lock               held by the one process that writes

Segments of one history have numbers without a gap. A gap says that something is missing between
two of them, and then only what is behind it counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tidewire.adapters.files.file_layer import FILE_MODE, FOLDER_MODE, FileLayer
from tidewire.adapters.files.segment import BLOCK_BYTES, Scan, Segment
from tidewire.core.change import Relation, Transaction
from tidewire.core.errors import SetupError
from tidewire.protocol.journal.records import (
    BODY_BYTES_MAX,
    COVER,
    HEADER_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    RELATION,
    TRANSACTION,
    TRANSACTION_END,
    DamagedError,
    Header,
    decode_cover,
    decode_header,
    split_records,
)
from tidewire.protocol.journal.transactions import decode_relation, decode_transaction, outline_of

SUFFIX = ".segment"
LOCK_NAME = "lock"

_READ_BYTES = 2 * (BODY_BYTES_MAX + RECORD_OVERHEAD_BYTES)


class Writing(msgspec.Struct):
    """Bytes for one segment.

    Attributes:
        segment: Whose they are.
        offset: Where they go; 0 for a file that is made by them.
        chunks: One after the other.
    """

    segment: Segment
    offset: int
    chunks: list[bytes]


class Found(msgspec.Struct, frozen=True):
    """What an earlier run left.

    Attributes:
        segments: Those that count, oldest first; only the last one is scanned.
        scan: Of the last one; None when there are none.
        garbage: Numbers of the others.
        highest: The highest number in use, or 0.
        cut_bytes: What was cut off the last segment's torn end.
    """

    segments: list[Segment]
    scan: Scan | None
    garbage: list[int]
    highest: int
    cut_bytes: int


class SegmentFiles:
    """The files of one folder.

    `load`, `write`, `remove` and `close` belong to one thread; `scan` and `read_block` may run
    in any.
    """

    def __init__(self, folder: Path, layer: FileLayer) -> None:
        self.folder = folder
        self._layer = layer
        self._lock: int | None = None
        self._open_number = 0
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the folder for this process alone; it is made if it is not there.

        Raises:
            SetupError: Another process holds it, or it cannot be used.
        """
        self._lock = _take_lock(self.folder)

    def load(self) -> Found:
        """Find the segments of the last unbroken history, and cut a torn end off.

        Costs a look at each header, and reading one segment.

        Raises:
            OSError: The folder cannot be read, or the torn end not be cut.
        """
        numbers = sorted(filter(None, map(_number_of, self._layer.names(self.folder))))
        highest = numbers[-1] if numbers else 0
        chain: list[Segment] = []
        for number in reversed(numbers):
            segment = self._segment_of(number)
            if segment is None:
                if not chain:
                    continue  # made, and killed before its first bytes were there
                break
            if chain and not _is_next(segment.header, chain[-1].header):
                break
            chain.append(segment)
        chain.reverse()
        kept = {segment.number for segment in chain}
        garbage = [number for number in numbers if number not in kept]
        if not chain:
            return Found([], None, garbage, highest, 0)
        last = chain[-1]
        whole = last.size
        scan = self.scan(last.header, whole)
        if scan.size < whole:
            self._cut(last.number, scan.size)
        last.learn(scan)
        return Found(chain, scan, garbage, highest, whole - scan.size)

    def scan(self, header: Header, size: int) -> Scan:
        """Read a whole segment, up to its end or to the first thing that is not right.

        Args:
            header: Its header.
            size: How long its file is.

        Raises:
            OSError: It cannot be read.
        """
        start = len(header.encode())
        scan = Scan(start, 0, None, [], [], [])
        parts: list[bytes] = []
        relations: list[Relation] = []
        relations_kept = 0
        with contextlib.suppress(DamagedError):
            for kind, end, body in self._records(header, start, size):
                if kind == RELATION:
                    relations.append(decode_relation(body))
                elif kind == TRANSACTION:
                    parts.append(body)
                elif kind == TRANSACTION_END:
                    _note(scan, b"".join([*parts, body]) if parts else body)
                    parts.clear()
                elif kind == COVER and not parts:
                    scan.covered = max(scan.covered, decode_cover(body))
                else:
                    break
                if kind in (TRANSACTION_END, COVER):
                    scan.size = end
                    relations_kept = len(relations)
        scan.relations = relations[:relations_kept]
        return scan

    def read_block(
        self, header: Header, relations: Sequence[Relation], start: int, end: int
    ) -> list[Transaction]:
        """Every transaction of a block.

        Args:
            header: The segment's.
            relations: Its versions of tables.
            start: Where the block begins.
            end: Where it ends.

        Raises:
            DamagedError: It is not what was written.
            OSError: It cannot be read.
        """
        found: list[Transaction] = []
        parts: list[bytes] = []
        reached = start
        for kind, reached, body in self._records(header, start, end):  # noqa: B007 - used behind
            if kind == TRANSACTION:
                parts.append(body)
            elif kind == TRANSACTION_END:
                blob = b"".join([*parts, body]) if parts else body
                parts.clear()
                found.append(decode_transaction(blob, relations))
        if reached != end or parts:
            raise DamagedError("a segment is shorter than it was")
        return found

    def write(self, writings: Sequence[Writing]) -> None:
        """Write and sync, one after the other.

        Raises:
            OSError: Some of it may be there and some not; all of it counts as not written.
        """
        try:
            for writing in writings:
                self._write(writing)
        except OSError:
            self._let_go()
            raise

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove segments, the oldest first, so that what is left has no gap.

        Raises:
            OSError: Not all of them are gone.
        """
        for number in sorted(numbers):
            if number == self._open_number:
                self._let_go()
            self._layer.remove(self._path(number))

    def close(self) -> None:
        """Let the folder go. A second call does nothing."""
        self._let_go()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    # ---------------------------------------------------------------- within

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}{SUFFIX}"

    def _segment_of(self, number: int) -> Segment | None:
        path = self._path(number)
        try:
            header, _ = decode_header(self._layer.read(path, HEADER_BYTES_MAX, 0))
            size = self._layer.size(path)
        except (DamagedError, OSError):
            return None
        return Segment.of_file(header, size) if header.number == number else None

    def _records(self, header: Header, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        """Kind, end in the file, and body of each record between two places."""
        path, salt = self._path(header.number), header.salt
        while start < end:
            data = self._layer.read(path, min(_READ_BYTES, end - start), start)
            consumed = 0
            for kind, stop, body in split_records(data, salt=salt, offset=start):
                consumed = stop
                yield kind, start + stop, body
            if not consumed:
                return  # the rest is less than a record
            start += consumed

    def _cut(self, number: int, size: int) -> None:
        descriptor = self._layer.open(self._path(number))
        try:
            self._layer.truncate(descriptor, size)
            self._layer.sync(descriptor)
        finally:
            self._layer.close(descriptor)

    def _write(self, writing: Writing) -> None:
        number = writing.segment.number
        is_new = writing.offset == 0
        if number != self._open_number or is_new:
            self._let_go()
            path = self._path(number)
            self._descriptor = self._layer.create(path) if is_new else self._layer.open(path)
            self._open_number = number
        assert self._descriptor is not None
        self._layer.write(self._descriptor, writing.chunks, writing.offset)
        self._layer.sync(self._descriptor)
        if is_new:
            self._layer.sync_folder(self.folder)

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._open_number = 0
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._layer.close(descriptor)


def _note(scan: Scan, blob: bytes) -> None:
    """Take a whole transaction into a scan, which so far ends where this one begins."""
    commit_lsn, end_lsn, count = outline_of(blob)
    if not scan.offsets or scan.size - scan.offsets[-1] >= BLOCK_BYTES:
        scan.lsns.append(commit_lsn)
        scan.offsets.append(scan.size)
    scan.last = (commit_lsn, max(0, count - 1))
    scan.covered = max(scan.covered, end_lsn)


def _number_of(name: str) -> int | None:
    digits, _, rest = name.partition(".")
    return int(digits) if f".{rest}" == SUFFIX and digits.isascii() and digits.isdigit() else None


def _is_next(header: Header, following: Header) -> bool:
    return header.number + 1 == following.number and header.epoch == following.epoch


def _take_lock(folder: Path) -> int:
    advice = "Choose another folder with --data-dir, or set journal.store to memory."
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise SetupError(
            f"The journal's folder {folder} cannot be used: {error.strerror}.", advice
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SetupError(f"Another process writes the journal in {folder}.", advice) from error
    return lock
