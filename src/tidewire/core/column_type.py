"""What can be said of a column's values from their text alone.

The stream shows each value in its type's output form (ISO dates, UTC, hex bytea, shortest
floats). For some types equal values always have the same text; for some the text, or a number
made of it, also orders as the type does. What is not named here is left to the database.

Source: PostgreSQL manual, "Data Types"; tried against PostgreSQL by `tests/integration/filters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from tidewire.core.catalog import TypeInfo, TypeKind

Key = Callable[[bytes], Any]
"""Text to a value that compares as the type does."""

DOMAIN_DEPTH_MAX = 32

BOOL, NAME, INT8, INT2, INT4, TEXT, OID = 16, 19, 20, 21, 23, 25, 26
BPCHAR, VARCHAR, FLOAT4, FLOAT8, NUMERIC, UUID, BYTEA = 1042, 1043, 700, 701, 1700, 2950, 17
DATE, TIME, TIMESTAMP, TIMESTAMPTZ = 1082, 1083, 1114, 1184
CHAR, MACADDR, MACADDR8, INET, CIDR, TIMETZ, BIT, VARBIT = 18, 829, 774, 869, 650, 1266, 1560, 1562

TEXTS = frozenset({TEXT, VARCHAR, NAME})
WITHOUT_EQUALITY = frozenset({114, 142, 600, 604})
"""json, xml, point, polygon: PostgreSQL has no ``=`` for them."""

_SQL_NAMES = {
    BOOL: "boolean",
    INT2: "smallint",
    INT4: "integer",
    INT8: "bigint",
    FLOAT4: "real",
    FLOAT8: "double precision",
    VARCHAR: "character varying",
    BPCHAR: "character",
    TIME: "time without time zone",
    TIMETZ: "time with time zone",
    TIMESTAMP: "timestamp without time zone",
    TIMESTAMPTZ: "timestamp with time zone",
    BIT: "bit",
    VARBIT: "bit varying",
}


class ColumnType(msgspec.Struct, frozen=True):
    """A column's type, domains resolved, with what its collation allows.

    Attributes:
        declared_oid: As the column has it, perhaps a domain.
        oid: The type that decides how values compare.
        name: Name of that type in `pg_type`.
        is_textual: Whether patterns apply.
        is_enum: Whether it is an enum.
        is_collation_c: Whether text orders by bytes.
        is_deterministic: Whether equal text means equal bytes.
    """

    declared_oid: int
    oid: int
    name: str
    is_textual: bool = False
    is_enum: bool = False
    is_collation_c: bool = True
    is_deterministic: bool = True

    @property
    def sql_name(self) -> str:
        """Its name in PostgreSQL's messages."""
        return _SQL_NAMES.get(self.oid, self.name)


def resolve_type(
    types: Mapping[int, TypeInfo],
    type_oid: int,
    *,
    is_collation_c: bool = True,
    is_deterministic: bool = True,
) -> ColumnType | None:
    """Look a column's type up; None when the catalogue does not know it."""
    info = types.get(type_oid)
    for _ in range(DOMAIN_DEPTH_MAX):
        if info is None or info.kind is not TypeKind.DOMAIN:
            break
        info = types.get(info.base_oid)
    if info is None or info.kind is TypeKind.DOMAIN:
        return None
    return ColumnType(
        declared_oid=type_oid,
        oid=info.oid,
        name=info.name,
        is_textual=info.category == "S",
        is_enum=info.kind is TypeKind.ENUM,
        is_collation_c=is_collation_c,
        is_deterministic=is_deterministic,
    )


class _NotANumber:
    """NaN as PostgreSQL orders it: equal to itself, greater than every number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is self

    def __hash__(self) -> int:
        return 0

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return other is not self

    def __le__(self, other: object) -> bool:
        return other is self

    def __ge__(self, other: object) -> bool:
        return True


NOT_A_NUMBER = _NotANumber()


def float_key(text: bytes) -> object:
    """A float's value."""
    return NOT_A_NUMBER if text == b"NaN" else float(text)


def numeric_key(text: bytes) -> object:
    """A numeric's exact value, infinities included."""
    return NOT_A_NUMBER if text == b"NaN" else Decimal(text.decode())


def time_key(text: bytes) -> bytes:
    """Bytes that order as ISO dates and timestamps in one time zone do.

    Within years of four digits the text itself does. Later years are put after them, years BC
    before, counted backwards.
    """
    if text[4:5] == b"-" and not text.endswith(b" BC"):
        return text
    if text == b"infinity":
        return b"~"
    if text == b"-infinity":
        return b""
    year, _, rest = text.partition(b"-")
    if rest.endswith(b" BC"):
        return b"-%07d-%s" % (9_999_999 - int(year), rest[:-3])
    return b":%07d-%s" % (int(year), rest)


def trimmed_key(text: bytes) -> bytes:
    """Without the blanks that pad a `character(n)`."""
    return text.rstrip(b" ")


def same_text(text: bytes) -> bytes:
    """The text itself."""
    return text


_EQUAL: dict[int, Key] = {
    **dict.fromkeys((BOOL, NAME, INT8, INT2, INT4, TEXT, VARCHAR, OID, UUID, BYTEA), same_text),
    **dict.fromkeys((DATE, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, CHAR), same_text),
    **dict.fromkeys((MACADDR, MACADDR8, INET, CIDR, BIT, VARBIT), same_text),
    BPCHAR: trimmed_key,
    FLOAT4: float_key,
    FLOAT8: float_key,
    NUMERIC: numeric_key,
}
_ORDER: dict[int, Key] = {
    **dict.fromkeys((INT8, INT2, INT4, OID), int),
    **dict.fromkeys((BOOL, UUID, BYTEA, TIME, MACADDR, MACADDR8), same_text),
    **dict.fromkeys((DATE, TIMESTAMP, TIMESTAMPTZ), time_key),
    **dict.fromkeys((TEXT, VARCHAR, NAME), same_text),
    BPCHAR: trimmed_key,
    FLOAT4: float_key,
    FLOAT8: float_key,
    NUMERIC: numeric_key,
}


def equality_key(column: ColumnType) -> Key | None:
    """What to compare for equality; None when only the database can tell."""
    if not column.is_deterministic:
        return None
    return same_text if column.is_enum else _EQUAL.get(column.oid)


def order_key(column: ColumnType) -> Key | None:
    """What to compare for order; None when only the database can tell."""
    if not (column.is_deterministic and column.is_collation_c):
        return None
    return _ORDER.get(column.oid)
