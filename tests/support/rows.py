"""TupleData by hand."""

from __future__ import annotations

import struct
from types import EllipsisType


def make_row(*values: bytes | EllipsisType | None) -> bytes:
    """A row in text form; None for NULL, `...` for an unchanged TOAST value."""
    parts = [struct.pack("!H", len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, EllipsisType):
            parts.append(b"u")
        else:
            parts.append(b"t" + struct.pack("!I", len(value)) + value)
    return b"".join(parts)
