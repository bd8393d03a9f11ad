"""Byte positions in PostgreSQL's write-ahead log."""

from __future__ import annotations

from tidewire.core.errors import InvalidRequestError


class Lsn(int):
    """A byte position in the write-ahead log; orders and adds as an integer.

    Source: PostgreSQL manual, data type `pg_lsn`.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Read PostgreSQL's text form, such as ``16/B374D848``.

        Raises:
            InvalidRequestError: `text` is not two hexadecimal numbers of 32 bits with a slash.
        """
        high, slash, low = text.partition("/")
        try:
            parts = int(high, 16), int(low, 16)
        except ValueError:
            parts = (-1, -1)
        if not slash or not all(0 <= part < 1 << 32 for part in parts):
            raise InvalidRequestError(f"not a log position: {text!r}")
        return cls(parts[0] << 32 | parts[1])

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({str(self)!r})"
