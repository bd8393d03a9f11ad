"""Names and literals inside a simple query, which takes no parameters."""

from __future__ import annotations

from tidewire.core.errors import InvalidRequestError


def quote_identifier(name: str) -> str:
    """`name` in double quotes.

    Raises:
        InvalidRequestError: It is empty or holds a NUL.
    """
    return '"' + _checked(name).replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """`text` as a string literal, right whatever `standard_conforming_strings` says.

    Raises:
        InvalidRequestError: It is empty or holds a NUL.
    """
    quoted = "'" + _checked(text).replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def _checked(text: str) -> str:
    if not text or "\0" in text:
        raise InvalidRequestError("a name in a replication command is empty or holds a NUL")
    return text
