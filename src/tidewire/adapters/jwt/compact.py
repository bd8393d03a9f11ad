"""A token taken apart, nothing of it believed yet. Source: RFC 7515 sections 3.1, 4.1, 7.1."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import unquote

import msgspec

from tidewire.adapters.jwt.texts import malformed

TOKEN_CHARACTERS_MAX = 16_384
"""Longer than any header line that carries one; bounds the cost of a refusal."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")


class SignedToken(msgspec.Struct, frozen=True):
    """The parts of a token.

    Attributes:
        algorithm: What its header says it is signed with; "" when it says nothing usable.
        kid: Name of the key, if it gives one.
        message: What was signed.
        payload: The claims as bytes.
        signature: The signature.
    """

    algorithm: str
    kid: str | None
    message: bytes
    payload: bytes
    signature: bytes


def clean_token(token: str) -> str:
    """Undo percent-encoding and drop white space, as the original does before it parses.

    Raises:
        TokenError: Longer than any token may be.
    """
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise malformed()
    return "".join(unquote(token).split())


def take_apart(compact: str) -> SignedToken:
    """The parts of `compact`, which is clean.

    Raises:
        TokenError: It is no signed token, or demands an extension (`crit`), none of which we know.
    """
    segments = compact.split(".")
    if len(segments) != 3:
        raise malformed()
    header = decode_object(_decode_segment(segments[0]))
    algorithm, kid = header.get("alg"), header.get("kid")
    if "crit" in header or not isinstance(kid, str | None):
        raise malformed()
    return SignedToken(
        algorithm=algorithm if isinstance(algorithm, str) else "",
        kid=kid,
        message=f"{segments[0]}.{segments[1]}".encode(),
        payload=_decode_segment(segments[1]),
        signature=_decode_segment(segments[2]),
    )


def decode_object(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        TokenError: It is none.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None


def _decode_segment(segment: str) -> bytes:
    if not _SEGMENT.fullmatch(segment):
        raise malformed()
    try:
        return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise malformed() from None
