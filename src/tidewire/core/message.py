"""What a broker carries between nodes."""

from __future__ import annotations

import enum

import msgspec


class PayloadEncoding(enum.Enum):
    """How a broadcast's body is to be read. Values are the wire's own (binary kinds 3, 4)."""

    BINARY = 0
    JSON = 1


class Message(msgspec.Struct, frozen=True, gc=False):
    """One broadcast on one topic.

    Attributes:
        topic: Tenant-scoped topic key (`core.topic.Topic.key`).
        event: The user's event name, or "" when `body` is a whole text-push payload.
        body: The bytes to pass on, never parsed again. With `is_envelope` a JSON object
            ``{"type":"broadcast","event":…,"payload":…}`` that goes out verbatim in a text
            frame; else the user payload alone, in `encoding`.
        encoding: How `body` is encoded.
        is_envelope: See `body`.
        meta: JSON object for the receiver's ``meta``, or b"" for none.
        sender: Key of the channel to skip (self: false), or "" to skip none.
        row_id: Id of the row of `realtime.messages` that it is, or "" for none: who was given
            it by a replay gets no live copy.
    """

    topic: str
    event: str
    body: bytes
    encoding: PayloadEncoding = PayloadEncoding.JSON
    is_envelope: bool = False
    meta: bytes = b""
    sender: str = ""
    row_id: str = ""
