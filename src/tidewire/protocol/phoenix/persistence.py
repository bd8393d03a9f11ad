"""How a client asks for its broadcast to be kept. Source: wire specification 4.11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from tidewire.core.errors import InvalidPersistenceError

TTL_S_MAX = 259_200
"""72 hours; also what is meant when no time is given."""

_KEY = "persist"
_TTL_KEY = "persist[ttl]"
_DIGITS_MAX = 6


def ttl_of_metadata(metadata: bytes) -> int | None:
    """Seconds for which the sender of a kind-3 push wants it kept; None for not at all.

    Raises:
        InvalidPersistenceError: The wish is none that the wire knows.
    """
    if not metadata:
        return None
    try:
        decoded = msgspec.json.decode(metadata)
    except (msgspec.DecodeError, RecursionError):
        return None  # the metadata is ours to read and nobody else's: what is none says nothing
    if not isinstance(decoded, dict):
        return None
    return _ttl_of(cast("dict[str, Any]", decoded).get(_KEY))


def ttl_of_query(query: Mapping[str, str]) -> int | None:
    """The same from ``?persist=true`` or ``?persist[ttl]=N``.

    Raises:
        InvalidPersistenceError: The wish is none that the wire knows.
    """
    if _TTL_KEY in query:
        return _seconds(query[_TTL_KEY])
    return _ttl_of(query.get(_KEY))


def _ttl_of(wish: Any) -> int | None:
    if wish is None or wish is False or wish == "false":
        return None
    if wish is True or wish == "true":
        return TTL_S_MAX
    if isinstance(wish, dict):
        options = cast("dict[str, Any]", wish)
        return _seconds(options["ttl"]) if "ttl" in options else TTL_S_MAX
    raise InvalidPersistenceError


def _seconds(ttl: Any) -> int:
    """A whole number or its decimal text; refused, not clamped, outside of the bounds."""
    if isinstance(ttl, str) and ttl.isascii() and ttl.isdigit() and len(ttl) <= _DIGITS_MAX:
        ttl = int(ttl)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 1 <= ttl <= TTL_S_MAX:
        raise InvalidPersistenceError
    return ttl
