"""Binary frames of serializer 2.0.0: kind 3 from clients, kind 4 to clients.

Layout of kind 3: kind, five one-byte sizes (join_ref, ref, topic, event, metadata), encoding,
then those fields, then the payload to the end. Kind 4: kind, three sizes (topic, event,
metadata), encoding, fields, payload. Sizes are bytes of UTF-8. Source: wire specification 2.3.
Kinds 0 to 2 are never sent: supabase-js crashes on them.
"""

from __future__ import annotations

from tidewire.core.errors import ProtocolViolationError
from tidewire.core.message import PayloadEncoding
from tidewire.protocol.phoenix.codec_json import is_json, quote
from tidewire.protocol.phoenix.frame import ClientFrame, UserBroadcast

_USER_BROADCAST_PUSH = 3
_USER_BROADCAST = 4
_PUSH_HEADER_BYTES = 7
FIELD_BYTES_MAX = 255


def decode_user_broadcast(data: bytes) -> ClientFrame:
    """Read a kind-3 push.

    Raises:
        ProtocolViolationError: Another kind, cut short, not UTF-8, or its JSON is none; to be
            dropped, the connection stays open.
    """
    if len(data) < _PUSH_HEADER_BYTES or data[0] != _USER_BROADCAST_PUSH:
        raise ProtocolViolationError("not a user broadcast push")
    sizes, encoding_byte = data[1:6], data[6]
    position = _PUSH_HEADER_BYTES
    fields: list[bytes] = []
    for size in sizes:
        fields.append(data[position : position + size])
        position += size
    if position > len(data) or encoding_byte > 1:
        raise ProtocolViolationError("user broadcast push is cut short or of unknown encoding")
    encoding = PayloadEncoding(encoding_byte)
    body = data[position:]
    try:
        join_ref, ref, topic, event = (field.decode() for field in fields[:4])
    except UnicodeDecodeError as error:
        raise ProtocolViolationError(str(error)) from None
    if encoding is PayloadEncoding.JSON and not is_json(body):
        raise ProtocolViolationError("the payload of a JSON broadcast is not JSON")
    broadcast = UserBroadcast(event, body, encoding, fields[4])
    return ClientFrame(
        quote(join_ref) if join_ref else b"null",
        quote(ref) if ref else b"null",
        topic,
        "broadcast",
        b"",
        broadcast,
    )


def encode_user_broadcast(
    topic: str, event: str, body: bytes, encoding: PayloadEncoding, *, meta: bytes = b""
) -> bytes | None:
    """A kind-4 frame; None when a field is too long for its one-byte size."""
    topic_bytes, event_bytes = topic.encode(), event.encode()
    if max(len(topic_bytes), len(event_bytes), len(meta)) > FIELD_BYTES_MAX:
        return None
    header = bytes((_USER_BROADCAST, len(topic_bytes), len(event_bytes), len(meta), encoding.value))
    return b"".join((header, topic_bytes, event_bytes, meta, body))
