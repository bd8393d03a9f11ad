"""A segment file of the journal: a header, then records, each with its checksum.

    header   magic, number, floor (LSN, seq), time it was made, epoch, CRC-32
    record   CRC-32, length (32 bits), kind (8 bits), body

All numbers are little-endian. A checksum covers length, kind and body, and starts from the place of
the record in its own segment: bytes that a disk brings from elsewhere, or that an earlier file
left behind, do not pass. A body has at most `BODY_BYTES_MAX` bytes, so a damaged length cannot make
anybody read far; a transaction that is larger goes on in the next record, and only its last one
carries the end mark. A transaction without it never was.

Every segment can be read alone: it holds each version of a table before the first row in it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from tidewire.core.errors import RealtimeError
from tidewire.core.position import Place

BODY_BYTES_MAX = 1 << 20

RELATION = 1  # one version of a table; they are numbered from 0 in each segment
COVER = 2  # an LSN: nothing else committed before it
TRANSACTION = 3  # a part of one, another follows
TRANSACTION_END = 4  # the last part of one

_MAGIC = b"tidewire journal 1\n"
_HEADER = struct.Struct("<QQQqH")
_CRC = struct.Struct("<I")
_HEAD = struct.Struct("<IB")
_RECORD = struct.Struct("<IIB")
_COVER = struct.Struct("<Q")
_EPOCH_BYTES_MAX = 200

RECORD_OVERHEAD_BYTES = _RECORD.size
HEADER_BYTES_MAX = len(_MAGIC) + _HEADER.size + _EPOCH_BYTES_MAX + _CRC.size


class DamagedError(RealtimeError):
    """Bytes of a journal's file are not what was written. Stays within the journal."""

    code = "JournalDamaged"


class Header(msgspec.Struct, frozen=True):
    """What a segment says of itself.

    Attributes:
        number: Its place among the segments; they follow each other without a gap.
        epoch: The history it belongs to.
        floor: Everything behind this place, up to the next segment's floor, is in it.
        made_at_us: Microseconds since 1970 at which it was begun.
    """

    number: int
    epoch: str
    floor: Place
    made_at_us: int

    def encode(self) -> bytes:
        """The first bytes of the file."""
        epoch = self.epoch.encode()
        assert len(epoch) <= _EPOCH_BYTES_MAX
        lsn, seq = self.floor
        fields = _HEADER.pack(self.number, lsn, seq, self.made_at_us, len(epoch))
        data = _MAGIC + fields + epoch
        return data + _CRC.pack(zlib.crc32(data))

    @property
    def salt(self) -> int:
        """Where the checksums of this segment start from."""
        return zlib.crc32(self.encode())


def decode_header(data: bytes) -> tuple[Header, int]:
    """Read a segment's header from its first bytes; gives it, and where the records begin.

    Raises:
        DamagedError: It is none, or not whole.
    """
    start = len(_MAGIC)
    try:
        number, lsn, seq, made_at_us, size = _HEADER.unpack_from(data, start)
        end = start + _HEADER.size + size
        (checksum,) = _CRC.unpack_from(data, end)
    except struct.error as error:
        raise DamagedError("the header is not whole") from error
    if not data.startswith(_MAGIC) or zlib.crc32(data[:end]) != checksum:
        raise DamagedError("the header is damaged")
    epoch = data[end - size : end].decode()
    return Header(number, epoch, (lsn, seq), made_at_us), end + _CRC.size


def encode_record(kind: int, body: bytes, *, seed: int) -> bytes:
    """One record.

    Args:
        kind: What it holds.
        body: At most `BODY_BYTES_MAX` bytes.
        seed: The segment's salt plus the record's offset in its file.
    """
    size = len(body)
    checksum = zlib.crc32(body, zlib.crc32(_HEAD.pack(size, kind), seed & 0xFFFFFFFF))
    return _RECORD.pack(checksum, size, kind) + body


def encode_transaction_records(blob: bytes, *, seed: int) -> bytes:
    """The records of one transaction, one after the other. Args: see `encode_record`."""
    if len(blob) <= BODY_BYTES_MAX:
        return encode_record(TRANSACTION_END, blob, seed=seed)
    records: list[bytes] = []
    for start in range(0, len(blob), BODY_BYTES_MAX):
        part = blob[start : start + BODY_BYTES_MAX]
        kind = TRANSACTION if start + BODY_BYTES_MAX < len(blob) else TRANSACTION_END
        records.append(encode_record(kind, part, seed=seed))
        seed += len(records[-1])
    return b"".join(records)


def encode_cover(lsn: int) -> bytes:
    """The body of a `COVER` record."""
    return _COVER.pack(lsn)


def decode_cover(body: bytes) -> int:
    """Read what `encode_cover` wrote.

    Raises:
        DamagedError: It is something else.
    """
    if len(body) != _COVER.size:
        raise DamagedError("a note of another length than it has")
    return _COVER.unpack(body)[0]


def split_records(data: bytes, *, salt: int, offset: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Every whole record in `data`: kind, where it ends within `data`, and its body.

    Ends before a record that is not whole in `data`; the caller reads on from there.

    Args:
        data: A piece of a segment's file that begins with a record.
        salt: The segment's.
        offset: Where `data` begins in the file.

    Raises:
        DamagedError: A record is not what was written.
    """
    position, size = 0, len(data)
    while size - position >= RECORD_OVERHEAD_BYTES:
        checksum, length, kind = _RECORD.unpack_from(data, position)
        if length > BODY_BYTES_MAX:
            raise DamagedError("a record is longer than any")
        start = position + RECORD_OVERHEAD_BYTES
        end = start + length
        if end > size:
            return
        head = data[position + _CRC.size : start]
        body = data[start:end]
        seed = (salt + offset + position) & 0xFFFFFFFF
        if zlib.crc32(body, zlib.crc32(head, seed)) != checksum:
            raise DamagedError("a record's checksum is wrong")
        position = end
        yield kind, position, body
