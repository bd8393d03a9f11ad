"""The two serializers behind one face, chosen by the `vsn` of the upgrade."""

from __future__ import annotations

import re
from typing import Protocol

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.phoenix.codec_binary import decode_user_broadcast
from tidewire.protocol.phoenix.codec_json import (
    decode_v1,
    decode_v2,
    encode_v1,
    encode_v2,
)
from tidewire.protocol.phoenix.frame import ClientFrame

_VERSION = re.compile(r"([12])\.0\.\d+")


class Serializer(Protocol):
    """Reads and writes the frames of one protocol version."""

    version: int

    def decode(self, data: bytes, is_text: bool) -> ClientFrame:  # noqa: FBT001 - once per message
        """Read a frame.

        Raises:
            ProtocolViolationError: It is no frame; to be dropped, the connection stays open.
        """
        ...

    def encode(
        self, topic: str, event: str, payload: bytes, *, join_ref: bytes, ref: bytes
    ) -> bytes:
        """A text frame to a client; what the version does not carry is left out."""
        ...


class SerializerV1:
    """Serializer 1.0.0: JSON objects, no binary, no join_ref towards the client."""

    version = 1

    def decode(self, data: bytes, is_text: bool) -> ClientFrame:  # noqa: FBT001, D102
        if not is_text:
            raise ProtocolViolationError("serializer 1.0.0 has no binary frames")
        return decode_v1(data)

    def encode(  # noqa: D102
        self, topic: str, event: str, payload: bytes, *, join_ref: bytes, ref: bytes
    ) -> bytes:
        del join_ref
        return encode_v1(topic, event, payload, ref=ref)


class SerializerV2:
    """Serializer 2.0.0: JSON arrays, and binary user broadcasts."""

    version = 2

    def decode(self, data: bytes, is_text: bool) -> ClientFrame:  # noqa: FBT001, D102
        return decode_v2(data) if is_text else decode_user_broadcast(data)

    def encode(  # noqa: D102
        self, topic: str, event: str, payload: bytes, *, join_ref: bytes, ref: bytes
    ) -> bytes:
        return encode_v2(topic, event, payload, join_ref=join_ref, ref=ref)


V1 = SerializerV1()
V2 = SerializerV2()


def serializer_for(vsn: str | None) -> Serializer | None:
    """The serializer that `vsn` names: ``1.0.x`` (also when absent) or ``2.0.x``; else None."""
    if vsn is None:
        return V1
    match = _VERSION.fullmatch(vsn)
    if match is None:
        return None
    return V1 if match[1] == "1" else V2
