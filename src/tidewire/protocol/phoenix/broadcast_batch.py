"""The body of a batch of broadcasts over HTTP, read and checked.

Payloads are checked to be JSON objects and otherwise passed through as bytes.
Source: wire specification 4.7.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidewire.protocol.phoenix.codec_json import is_json

BLANK = "can't be blank"
INVALID = "is invalid"
TOO_LARGE = "Payload size exceeds tenant limit"

_NULL = msgspec.Raw(b"null")
_NULL_TEXT = b"null"
_BOOLEANS = {b"true": True, b'"true"': True, b"false": False, b'"false"': False, _NULL_TEXT: False}
_decode_text = msgspec.json.Decoder(str).decode

FieldErrors = dict[str, list[str]]


class BatchEntry(msgspec.Struct, frozen=True, gc=False):
    """One message of a batch.

    Attributes:
        topic: Sub-topic, without the prefix of channels.
        envelope: The whole payload of the text frame, as it goes out.
        private: Whether it is meant for the private room.
    """

    topic: str
    envelope: bytes
    private: bool


class InvalidBatch(msgspec.Struct, frozen=True):
    """Why a batch is refused.

    Attributes:
        errors: The value of ``errors`` in the answer.
    """

    errors: dict[str, Any]


class _Body(msgspec.Struct):
    messages: msgspec.Raw = _NULL


class _Entry(msgspec.Struct):
    topic: msgspec.Raw = _NULL
    event: msgspec.Raw = _NULL
    payload: msgspec.Raw = _NULL
    private: msgspec.Raw = _NULL
    id: msgspec.Raw = _NULL


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode


def parse_batch(body: bytes, *, payload_bytes_max: int) -> list[BatchEntry] | InvalidBatch | None:
    """Read a batch; None when the body is no JSON object.

    One bad message refuses them all.

    Args:
        body: The request's.
        payload_bytes_max: For one payload.
    """
    if not is_json(body):
        return None
    try:
        messages = _decode_body(body).messages
    except msgspec.DecodeError:
        return None
    entries = _entries(messages)
    if isinstance(entries, str):
        return InvalidBatch({"messages": [entries]})
    errors = [_errors_of(entry, payload_bytes_max) for entry in entries]
    if any(errors):
        return InvalidBatch({"messages": errors})
    return [_read(entry) for entry in entries]


def _entries(messages: msgspec.Raw) -> list[_Entry] | str:
    """The messages one by one, or why they are none."""
    if bytes(messages) == _NULL_TEXT:
        return BLANK
    try:
        entries = [_decode_entry(item) for item in _decode_list(messages)]
    except msgspec.DecodeError:
        return INVALID
    return entries or BLANK


def _errors_of(entry: _Entry, payload_bytes_max: int) -> FieldErrors:
    found: FieldErrors = {}
    for name, raw in (("topic", entry.topic), ("event", entry.event)):
        text = bytes(raw)
        if not text.startswith(b'"') and text != _NULL_TEXT:
            found[name] = [INVALID]
        elif text == _NULL_TEXT or not _decode_text(text).strip():
            found[name] = [BLANK]
    payload = bytes(entry.payload)
    if payload == _NULL_TEXT:
        found["payload"] = [BLANK]
    elif not payload.startswith(b"{"):
        found["payload"] = [INVALID]
    elif len(payload) > payload_bytes_max:
        found["payload"] = [TOO_LARGE]
    if bytes(entry.private) not in _BOOLEANS:
        found["private"] = [INVALID]
    identifier = bytes(entry.id)
    if identifier != _NULL_TEXT and not identifier.startswith(b'"'):
        found["id"] = [INVALID]
    return found


def _read(entry: _Entry) -> BatchEntry:
    identifier = bytes(entry.id)
    meta = b"" if identifier == _NULL_TEXT else b',"meta":{"id":%b}' % identifier
    envelope = b'{"payload":%b,"event":%b,"type":"broadcast"%b}' % (
        bytes(entry.payload),
        bytes(entry.event),
        meta,
    )
    return BatchEntry(_decode_text(entry.topic), envelope, _BOOLEANS[bytes(entry.private)])
