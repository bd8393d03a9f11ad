"""One message's wire forms, each encoded once whatever the number of its receivers."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tidewire.core.message import Message, PayloadEncoding
from tidewire.protocol.phoenix.codec_binary import encode_user_broadcast
from tidewire.protocol.phoenix.codec_json import encode_v1, encode_v2
from tidewire.protocol.phoenix.payloads import broadcast_object
from tidewire.protocol.websocket.frames import (
    COMPRESS_MIN_BYTES,
    binary_frame,
    compressed_binary_frame,
    compressed_text_frame,
    text_frame,
    text_frame_of,
)

# Wire forms ("lanes"): serializer 1 or 2, and whether compressed frames may be sent.
LANE_V1, LANE_V2, LANE_V1_DEFLATE, LANE_V2_DEFLATE = range(4)
LANES = 4
_DEFLATE = 2
_NOTHING = b""
BROADCAST = "broadcast"


def lane_of(version: int, *, deflate: bool) -> int:
    """The lane of a connection with this serializer version."""
    return (version - 1) + (_DEFLATE if deflate else 0)


Encoder = Callable[[int], tuple[bytes, bool] | None]
"""Serializer version to (payload, is_text); None when that version gets nothing."""


class FanoutFrame:
    """One message's WebSocket frames, made on first use, once per lane."""

    __slots__ = ("_encode", "_frames")

    @property
    def event(self) -> str:
        """What kind of message it is: its event on the wire."""
        return BROADCAST

    def __init__(self, encode: Encoder) -> None:
        self._encode = encode
        self._frames: list[bytes | None] = [None] * LANES

    def for_lane(self, lane: int) -> bytes:
        """The frame in this wire form; b"" when it gets nothing."""
        frame = self._frames[lane]
        if frame is None:
            frame = self._frames[lane] = self._build(lane)
        return frame

    def _build(self, lane: int) -> bytes:
        encoded = self._encode(1 + (lane & 1))
        if encoded is None:
            return _NOTHING
        payload, is_text = encoded
        if lane & _DEFLATE and len(payload) >= COMPRESS_MIN_BYTES:
            return compressed_text_frame(payload) if is_text else compressed_binary_frame(payload)
        return text_frame(payload) if is_text else binary_frame(payload)


class Envelope:
    """What stands around the payload of one topic's pushes, in both serializers.

    Worked out once; a push then costs one copy of its bytes.

    Attributes:
        event: The event.
        v1: What stands before and behind the payload in serializer 1.
        v2: The same in serializer 2.
    """

    __slots__ = ("event", "v1", "v2")

    def __init__(
        self, wire_topic: str, event: str, *, opening: bytes = b"", closing: bytes = b""
    ) -> None:
        """Work it out.

        Args:
            wire_topic: The topic.
            event: The event.
            opening: JSON text of the payload that all have in common, before what differs.
            closing: The same, behind it.
        """
        self.event = event
        self.v1 = _split(encode_v1(wire_topic, event, opening + _HOLE + closing))
        self.v2 = _split(encode_v2(wire_topic, event, opening + _HOLE + closing))


_HOLE = b"\x00"
"""Stands for the payload while an envelope is made; JSON text holds no such byte."""


def _split(frame: bytes) -> tuple[bytes, bytes]:
    head, _, tail = frame.partition(_HOLE)
    return head, tail


class EnvelopedFrame(FanoutFrame):
    """A text push to all members: join_ref and ref are null."""

    __slots__ = ("_body", "_envelope")

    def __init__(self, envelope: Envelope, body: bytes) -> None:
        self._envelope = envelope
        self._body = body
        self._frames = [None] * LANES

    @property
    def event(self) -> str:
        """Its event on the wire."""
        return self._envelope.event

    def _build(self, lane: int) -> bytes:
        head, tail = self._envelope.v2 if lane & 1 else self._envelope.v1
        if lane & _DEFLATE:
            payload = b"".join((head, self._body, tail))
            return compressed_text_frame(payload)  # short ones come back as they are
        return text_frame_of(head, self._body, tail)


ENVELOPES_MAX = 4_096
"""Envelopes kept ready for topics that are pushed to; more are made anew when needed."""


@functools.lru_cache(maxsize=ENVELOPES_MAX)
def _envelope(wire_topic: str, event: str) -> Envelope:
    return Envelope(wire_topic, event)


def push_frame(wire_topic: str, event: str, payload: bytes) -> EnvelopedFrame:
    """A text push to all members: join_ref and ref are null."""
    return EnvelopedFrame(_envelope(wire_topic, event), payload)


def broadcast_frame(wire_topic: str, message: Message) -> FanoutFrame:
    """A broadcast, in the form that its sender's form asks for (wire specification 2.4)."""
    if message.is_envelope:
        return push_frame(wire_topic, BROADCAST, message.body)

    def encode(version: int) -> tuple[bytes, bool] | None:
        if version == 1:
            if message.encoding is PayloadEncoding.BINARY:
                return None
            envelope = broadcast_object(message.event, message.body, message.meta)
            return encode_v1(wire_topic, BROADCAST, envelope), True
        data = encode_user_broadcast(
            wire_topic, message.event, message.body, message.encoding, meta=message.meta
        )
        if data is not None:
            return data, False
        if message.encoding is PayloadEncoding.BINARY:
            return None
        envelope = broadcast_object(message.event, message.body, message.meta)
        return encode_v2(wire_topic, BROADCAST, envelope), True

    return FanoutFrame(encode)
