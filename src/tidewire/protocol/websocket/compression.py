"""permessage-deflate without context takeover (RFC 7692), one message at a time.

Without takeover no compression state outlives a message: a connection costs no memory for it
and one compressed frame serves every peer.
"""

from __future__ import annotations

import zlib
from typing import Final

from tidewire.core.errors import ProtocolViolationError

# What a sender cuts off the end of a flushed message, and a receiver puts back (section 7.2).
_TAIL: Final = b"\x00\x00\xff\xff"
# An empty last block: zlib says "end of stream" only if everything before it was well formed.
_END: Final = b"\x01\x00\x00\xff\xff"
# What may follow a block that called itself the last one (section 7.2.3.4).
_AFTER_LAST_BLOCK: Final = (b"", _TAIL + _END, b"\x00" + _TAIL + _END)

_WINDOW_BITS: Final = 15
_LEVEL: Final = 1
_MEMORY_LEVEL: Final = 5


class MessageTooBigError(ProtocolViolationError):
    """An inflated message passes the limit; inflating stopped there."""


def deflate(payload: bytes) -> bytes:
    """Compress one message."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Decompress one message.

    No more than `max_bytes` + 1 bytes are ever made of it.

    Raises:
        MessageTooBigError: The message has more than `max_bytes`.
        ProtocolViolationError: `data` is no deflate stream, or one that breaks off.
    """
    if not data:
        return b""
    decompressor = zlib.decompressobj(-_WINDOW_BITS)
    try:
        payload = decompressor.decompress(data + _TAIL + _END, max_bytes + 1)
    except zlib.error:
        raise ProtocolViolationError("invalid compressed data") from None
    if len(payload) > max_bytes:
        raise MessageTooBigError("message too big")
    if not decompressor.eof or decompressor.unused_data not in _AFTER_LAST_BLOCK:
        raise ProtocolViolationError("incomplete compressed data")
    return payload
