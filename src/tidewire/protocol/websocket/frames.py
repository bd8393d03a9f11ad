"""Frames as a server sends them (RFC 6455 section 5): final, not masked.

The fan-out builds one frame for all receivers of a message, so nothing here knows a connection.
"""

from __future__ import annotations

import struct
from typing import Final

from tidewire.protocol.websocket.compression import deflate

COMPRESS_MIN_BYTES: Final = 512
"""Smaller payloads are never compressed: it costs more than the network saves."""

CONTROL_MAX_BYTES: Final = 125
"""Longest payload of a close, ping or pong frame."""

_FINAL: Final = 0x80
_COMPRESSED: Final = 0x40
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA

_HEADER_16: Final = struct.Struct("!BBH").pack
_HEADER_64: Final = struct.Struct("!BBQ").pack


def text_frame(payload: bytes) -> bytes:
    """One whole text message; `payload` is UTF-8."""
    return _frame(_FINAL | _TEXT, payload)


def text_frame_of(head: bytes, body: bytes, tail: bytes) -> bytes:
    """One whole text message in three parts, put together in one copy."""
    return b"".join((_header(_FINAL | _TEXT, len(head) + len(body) + len(tail)), head, body, tail))


def binary_frame(payload: bytes) -> bytes:
    """One whole binary message."""
    return _frame(_FINAL | _BINARY, payload)


def compressed_text_frame(payload: bytes) -> bytes:
    """One whole text message for peers that negotiated permessage-deflate.

    Comes back uncompressed where compressing gains nothing; such peers read both.
    """
    return _compressed_frame(_FINAL | _TEXT, payload)


def compressed_binary_frame(payload: bytes) -> bytes:
    """As `compressed_text_frame`, for a binary message."""
    return _compressed_frame(_FINAL | _BINARY, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame.

    Args:
        code: Close code; None for a frame that says none.
        reason: For people; cut to the 123 bytes that fit, between characters.
    """
    if code is None:
        return _frame(_FINAL | _CLOSE, b"")
    text = reason.encode()[: CONTROL_MAX_BYTES - 2].decode(errors="ignore").encode()
    return _frame(_FINAL | _CLOSE, code.to_bytes(2, "big") + text)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; `payload`, at most 125 bytes, comes back in the pong."""
    assert len(payload) <= CONTROL_MAX_BYTES
    return _frame(_FINAL | _PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this payload."""
    assert len(payload) <= CONTROL_MAX_BYTES
    return _frame(_FINAL | _PONG, payload)


def _compressed_frame(first_byte: int, payload: bytes) -> bytes:
    if len(payload) >= COMPRESS_MIN_BYTES:
        compressed = deflate(payload)
        if len(compressed) < len(payload):
            return _frame(first_byte | _COMPRESSED, compressed)
    return _frame(first_byte, payload)


def _frame(first_byte: int, payload: bytes) -> bytes:
    return _header(first_byte, len(payload)) + payload


def _header(first_byte: int, length: int) -> bytes:
    if length < 126:
        return bytes((first_byte, length))
    if length < 1 << 16:
        return _HEADER_16(first_byte, 126, length)
    return _HEADER_64(first_byte, 127, length)
