"""Text frames of both serializers: JSON object (1.0.0) and JSON array (2.0.0).

Source: wire specification 2.1, 2.2. Refs are opaque: whatever JSON a client sends as a ref comes
back byte for byte. Payloads are checked to be JSON and otherwise passed through as text.
"""

from __future__ import annotations

import msgspec

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.phoenix.frame import ClientFrame

_NULL = msgspec.Raw(b"null")


class _ArrayFrame(msgspec.Struct, array_like=True, gc=False):
    """Version 2.0.0; elements after the fifth are ignored."""

    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: str
    event: str
    payload: msgspec.Raw


class _ObjectFrame(msgspec.Struct, gc=False):
    """Version 1.0.0; the four keys without a default are required."""

    topic: str
    event: str
    payload: msgspec.Raw
    ref: msgspec.Raw
    join_ref: msgspec.Raw = _NULL


_decode_array = msgspec.json.Decoder(_ArrayFrame).decode
_decode_object = msgspec.json.Decoder(_ObjectFrame).decode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.encode

# What the decoder raises on hostile input: bad JSON or shape, bad UTF-8, nesting without end.
_BAD_INPUT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_v1(text: bytes) -> ClientFrame:
    """Read a frame of serializer 1.0.0.

    Raises:
        ProtocolViolationError: It is no frame; to be dropped, the connection stays open.
    """
    try:
        frame = _decode_object(text)
    except _BAD_INPUT as error:
        raise ProtocolViolationError(str(error)) from None
    return ClientFrame(
        bytes(frame.join_ref), bytes(frame.ref), frame.topic, frame.event, bytes(frame.payload)
    )


def decode_v2(text: bytes) -> ClientFrame:
    """Read a text frame of serializer 2.0.0.

    Raises:
        ProtocolViolationError: It is no frame; to be dropped, the connection stays open.
    """
    try:
        frame = _decode_array(text)
    except _BAD_INPUT as error:
        raise ProtocolViolationError(str(error)) from None
    return ClientFrame(
        bytes(frame.join_ref), bytes(frame.ref), frame.topic, frame.event, bytes(frame.payload)
    )


def is_json(text: bytes) -> bool:
    """Whether `text` is one whole JSON value in valid UTF-8."""
    try:
        _check_json(text)
        if not text.isascii():
            text.decode()
    except _BAD_INPUT:
        return False
    return True


def quote(text: str) -> bytes:
    """`text` as a JSON string."""
    return _encode(text)


def encode_v1(topic: str, event: str, payload: bytes, *, ref: bytes = b"null") -> bytes:
    """A frame to a 1.0.0 client: always these four keys, never a join_ref."""
    return b'{"topic":%b,"event":%b,"payload":%b,"ref":%b}' % (
        quote(topic),
        quote(event),
        payload,
        ref,
    )


def encode_v2(
    topic: str, event: str, payload: bytes, *, join_ref: bytes = b"null", ref: bytes = b"null"
) -> bytes:
    """A text frame to a 2.0.0 client."""
    return b"[%b,%b,%b,%b,%b]" % (join_ref, ref, quote(topic), quote(event), payload)
