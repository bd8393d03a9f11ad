"""Payloads that the server makes, as JSON text."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidewire.core.presence_state import PresenceDiff, PresenceMeta
from tidewire.protocol.phoenix.codec_json import quote

OK = b'{"status":"ok","response":{}}'
EMPTY = b"{}"


def reply_ok(response: bytes = EMPTY) -> bytes:
    """A reply that says yes; `response` is a JSON object."""
    return b'{"status":"ok","response":%b}' % response


def reply_error(response: Mapping[str, str]) -> bytes:
    """A reply that says no. Always an object: supabase-py drops anything else."""
    return b'{"status":"error","response":%b}' % msgspec.json.encode(response)


def reply_reason(reason: str) -> bytes:
    """A refused request with its ``Code: text``."""
    return reply_error({"reason": reason})


def joined(echoes: list[bytes]) -> bytes:
    """The reply to a join: one element per requested entry, in order (3.4)."""
    return reply_ok(b'{"postgres_changes":[%b]}' % b",".join(echoes))


def system(
    channel: str, extension: str, status: str, message: str, extra: Mapping[str, str] | None = None
) -> bytes:
    """A system message (3.7); supabase-py needs all four keys, extra ones are tolerated."""
    fields = {"extension": extension, "status": status, "message": message, "channel": channel}
    return msgspec.json.encode({**fields, **(extra or {})})


def broadcast_object(event: str, body: bytes, meta: bytes = b"") -> bytes:
    """A broadcast in its JSON form, for receivers that take no binary frames (2.4)."""
    tail = b',"meta":' + meta if meta else b""
    return b'{"event":%b,"payload":%b,"type":"broadcast"%b}' % (quote(event), body, tail)


def row_meta(row_id: str, *, replayed: bool = False) -> bytes:
    """The ``meta`` of a broadcast that is a row (4.10, 4.12)."""
    tail = b',"replayed":true' if replayed else b""
    return b'{"id":%b%b}' % (quote(row_id), tail)


def _meta(meta: PresenceMeta) -> bytes:
    """The tracked object with `phx_ref` added.

    The server's refs come last so that they win over keys of the same name in the payload.
    """
    inner = meta.payload.strip()[1:-1].strip()
    refs = b'"phx_ref":' + quote(meta.ref)
    if meta.previous_ref:
        refs += b',"phx_ref_prev":' + quote(meta.previous_ref)
    return b"{" + inner + (b"," if inner else b"") + refs + b"}"


def presence_map(metas: Mapping[str, tuple[PresenceMeta, ...]]) -> bytes:
    """Key to metas, as presence_state carries it (5.2)."""
    entries = [
        b'%b:{"metas":[%b]}' % (quote(key), b",".join([_meta(meta) for meta in of_key]))
        for key, of_key in metas.items()
    ]
    return b"{" + b",".join(entries) + b"}"


def presence_diff(diff: PresenceDiff) -> bytes:
    """A presence_diff; both keys are always there (5.2)."""
    return b'{"joins":%b,"leaves":%b}' % (presence_map(diff.joins), presence_map(diff.leaves))
