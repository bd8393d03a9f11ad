"""What a subscription's `filter` says, as values.

A filter is a list of conditions that must all hold. `core.filter_parse` reads the text,
`core.predicate` turns a condition into something that judges a row.
"""

from __future__ import annotations

import enum

import msgspec

IN_VALUES_MAX = 100
"""Source: wire specification 6.6."""


class Operator(enum.Enum):
    """How a column is compared. Source: wire specification 6.6."""

    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    LIKE = "like"
    ILIKE = "ilike"
    IS = "is"
    MATCH = "match"
    IMATCH = "imatch"
    ISDISTINCT = "isdistinct"


class Condition(msgspec.Struct, frozen=True):
    """``column operator value``, perhaps negated.

    Attributes:
        column: Column name, as written.
        operator: How to compare.
        values: One text, or the items of an `in` list, where None is an unquoted NULL.
        negated: Whether ``not.`` stood before the operator. NULL still never matches.
    """

    column: str
    operator: Operator
    values: tuple[str | None, ...]
    negated: bool = False

    @property
    def value(self) -> str:
        """The one value of any operator but `in`."""
        (value,) = self.values
        assert value is not None
        return value
