"""Frames of serializer 2.0.0, seen from the client. Source: wire specification 2.2."""

from __future__ import annotations

from typing import Any

import msgspec

from tidewire.core.errors import ProtocolViolationError


class ServerFrame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One text frame from the server.

    Attributes:
        join_ref: The join it belongs to; None for what goes to all.
        ref: The push it answers; None otherwise.
        topic: Wire name.
        event: Event name.
        payload: JSON text, not decoded yet.
    """

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: msgspec.Raw


class Reply(msgspec.Struct, frozen=True):
    """Payload of ``phx_reply``.

    Attributes:
        status: ``ok`` or ``error``.
        response: What it says, an object.
    """

    status: str
    response: dict[str, Any]


_decode_frame = msgspec.json.Decoder(ServerFrame).decode
_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


def encode_push(join_ref: str | None, ref: str, topic: str, event: str, payload: object) -> str:
    """A text frame to the server."""
    return _encode((join_ref, ref, topic, event, payload)).decode()


def decode_frame(data: str | bytes) -> ServerFrame:
    """Read a text frame.

    Raises:
        ProtocolViolationError: It is no frame.
    """
    try:
        return _decode_frame(data)
    except msgspec.DecodeError as error:
        raise ProtocolViolationError(str(error)) from None


def decode_reply(payload: msgspec.Raw) -> Reply:
    """Read the payload of a ``phx_reply``.

    Raises:
        ProtocolViolationError: It is none.
    """
    try:
        return _decode_reply(payload)
    except msgspec.DecodeError as error:
        raise ProtocolViolationError(str(error)) from None


def decode_object(payload: msgspec.Raw) -> dict[str, Any]:
    """Read a payload that is an object.

    Raises:
        ProtocolViolationError: It is none.
    """
    try:
        return _decode_object(payload)
    except msgspec.DecodeError as error:
        raise ProtocolViolationError(str(error)) from None
