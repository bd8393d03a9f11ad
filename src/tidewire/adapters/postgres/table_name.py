"""Names of tables as people write them."""

from __future__ import annotations

import re

import msgspec

from tidewire.core.errors import InvalidRequestError

_PART = re.compile(r'\s*(?:"((?:[^"\0]|"")+)"|([^\W\d][\w$]*))\s*')
NAME_BYTES_MAX = 63


class TableName(msgspec.Struct, frozen=True):
    """A table by schema and name, exactly as the catalogue has them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"


def parse_table_name(text: str) -> TableName:
    """Read ``table`` or ``schema.table``; the schema is `public` when none is given.

    As in SQL, a part in double quotes is taken as it stands and may hold dots, one without is
    folded to lower case.

    Raises:
        InvalidRequestError: It is no such name.
    """
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise _bad_name(text)
        quoted, plain = match[1], match[2]
        parts.append(quoted.replace('""', '"') if quoted is not None else plain.lower())
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise _bad_name(text)
        position += 1
    if len(parts) > 2 or any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise _bad_name(text)
    return TableName(parts[0] if len(parts) == 2 else "public", parts[-1])


def quote_name(name: str) -> str:
    """A name for use in SQL, always in double quotes."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _bad_name(text: str) -> InvalidRequestError:
    return InvalidRequestError(
        f'not a table\'s name: {text!r}; write table, schema.table or "Schema"."Table"'
    )
