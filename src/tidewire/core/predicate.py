"""A condition on a column, as something that judges the column's text.

A predicate answers True or False where the text alone decides, and None where only the
database can tell: then `questions` says what to ask and `conclude` turns the answers into a
verdict. NULL meets no condition but `is` and `isdistinct`, negated or not; a value that the
stream does not carry (an unchanged TOAST value, a column outside of the replica identity)
meets none at all.

Source: wire specification 6.6.
"""

from __future__ import annotations

import enum
import operator as compare
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec

from tidewire.core.column_type import (
    BOOL,
    BPCHAR,
    TEXT,
    TEXTS,
    WITHOUT_EQUALITY,
    ColumnType,
    Key,
    equality_key,
    order_key,
)
from tidewire.core.errors import InvalidSubscriptionError
from tidewire.core.filter import IN_VALUES_MAX, Condition, Operator
from tidewire.core.like_pattern import LikePattern, PatternError

Cell = bytes | None | enum.Enum
"""A column's text, None for NULL, any enum member for a value that is not there."""

Judge = Callable[[Cell], bool | None]

_EQUALITY = frozenset({Operator.EQ, Operator.NEQ, Operator.IN, Operator.ISDISTINCT})
_PATTERNS = frozenset({Operator.LIKE, Operator.ILIKE, Operator.MATCH, Operator.IMATCH})
_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: compare.eq,
    Operator.NEQ: compare.ne,
    Operator.ISDISTINCT: compare.ne,
    Operator.LT: compare.lt,
    Operator.LTE: compare.le,
    Operator.GT: compare.gt,
    Operator.GTE: compare.ge,
}
_IS_VALUES: dict[str, tuple[bytes | None, ...]] = {
    "null": (None,),
    "true": (b"t",),
    "false": (b"f",),
    "unknown": (None,),
}
# Regular expressions that mean just their own text: nothing here is special to POSIX.
_PLAIN_REGEX = re.compile(r"(\^?)([A-Za-z0-9 _\-@/,:;]*)(\$?)", re.ASCII)

REGEX_CHARS_MAX = 1_000
"""Longer ones take PostgreSQL seconds to compile, which it does again and again."""

# An even number of backslashes before it, then a back-reference: with those, PostgreSQL's matcher
# tries every way to divide the text, seconds for one row. Without, it is a finite automaton.
_BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")


class Question(msgspec.Struct, frozen=True):
    """``value operator literal`` for the database.

    Attributes:
        type_oid: Type of the value, domains resolved.
        operator: What to compare by; never `in` or `is`.
        literal: Right side.
        value: Left side, as the stream has it.
        column: Name of the column, for its collation.
    """

    type_oid: int
    operator: Operator
    literal: str
    value: str
    column: str


class AnchorKind(enum.Enum):
    """How an index may find a predicate by the row's value."""

    EQUAL = "equal"
    RANGE = "range"


class Anchor(msgspec.Struct, frozen=True):
    """The values that meet a predicate, in a form that an index can search.

    Attributes:
        kind: How to search.
        operator: For a range, which side of the one key.
        key: Makes a key from the row's text.
        keys: For EQUAL, all keys that meet it.
    """

    kind: AnchorKind
    operator: Operator
    key: Key
    keys: tuple[Any, ...]


class Predicate:
    """One condition, compiled for one column type.

    Attributes:
        condition: What was asked for.
        column: Name of the column it looks at.
        column_type: Type it was compiled for.
        literals: What it compares with, in the type's output form; None for NULL in a list.
        identity: Equal for predicates that judge alike.
        judge: True or False, or None when the database must be asked.
        anchor: How an index may find it; None when it must be tried on every row.
        needs_database: Whether `judge` always says None for a value.
    """

    __slots__ = (
        "anchor",
        "column",
        "column_type",
        "condition",
        "identity",
        "judge",
        "literals",
        "needs_database",
    )

    def __init__(
        self,
        condition: Condition,
        column_type: ColumnType,
        literals: tuple[str | None, ...],
        judge: Judge | None,
        anchor: Anchor | None = None,
    ) -> None:
        self.condition = condition
        self.column = condition.column
        self.column_type = column_type
        self.anchor = anchor
        self.needs_database = judge is None
        self.judge: Judge = self._ask_always if judge is None else judge
        self.literals = literals
        self.identity: Hashable = (
            condition.column,
            condition.operator,
            condition.negated,
            literals,
            column_type,
        )

    def questions(self, value: bytes) -> tuple[Question, ...]:
        """What to ask when `judge` said None for `value`."""
        wanted = self.condition.operator
        wanted = Operator.EQ if wanted is Operator.IN else wanted
        text = value.decode("utf-8", "replace")
        return tuple(
            Question(self.column_type.oid, wanted, literal, text, self.column)
            for literal in self.literals
            if literal is not None
        )

    def conclude(self, answers: Sequence[bool]) -> bool:
        """The verdict, from one answer for each question."""
        if any(answers):
            return not self.condition.negated
        # x IN (1, NULL) is unknown when x is not 1: no match, negated or not.
        return self.condition.negated and None not in self.literals

    def _ask_always(self, cell: Cell) -> bool | None:
        if type(cell) is bytes:
            return None
        if cell is None and self.condition.operator is Operator.ISDISTINCT:
            return not self.condition.negated
        return False


def needed_literals(condition: Condition, column_type: ColumnType) -> tuple[str, ...]:
    """The literals whose canonical form `compile_predicate` needs.

    Raises:
        InvalidSubscriptionError: The condition does not fit the column; the message is
            PostgreSQL's part of the wire's text (6.7).
    """
    _check_fits(condition, column_type)
    if condition.operator is Operator.IS or condition.operator in _PATTERNS:
        return ()
    return tuple(dict.fromkeys(value for value in condition.values if value is not None))


def compile_predicate(
    condition: Condition, column_type: ColumnType, canonical: Callable[[str], str]
) -> Predicate:
    """Compile a condition for a column.

    Args:
        condition: What was asked for.
        column_type: The column's type.
        canonical: Gives a literal of `needed_literals` in its type's output form.

    Raises:
        InvalidSubscriptionError: As `needed_literals`.
    """
    _check_fits(condition, column_type)
    if condition.operator is Operator.IS:
        return Predicate(condition, column_type, (), _judge_is(condition))
    if condition.operator in _PATTERNS:
        judge = _judge_pattern(condition, column_type)
        return Predicate(condition, column_type, condition.values, judge)
    literals = tuple(None if v is None else canonical(v) for v in condition.values)
    is_equality = condition.operator in _EQUALITY
    key = equality_key(column_type) if is_equality else order_key(column_type)
    if key is None:
        return Predicate(condition, column_type, literals, None)
    keys = tuple(key(literal.encode()) for literal in literals if literal is not None)
    if condition.operator is Operator.IN:
        judge = _judge_in(key, frozenset(keys), condition.negated, None in literals)
    else:
        judge = _judge_scalar(condition, key, keys[0])
    return Predicate(condition, column_type, literals, judge, _anchor(condition, key, keys))


def _anchor(condition: Condition, key: Key, keys: tuple[Any, ...]) -> Anchor | None:
    wanted = condition.operator
    if condition.negated or wanted in (Operator.NEQ, Operator.ISDISTINCT):
        return None
    kind = AnchorKind.EQUAL if wanted in (Operator.EQ, Operator.IN) else AnchorKind.RANGE
    return Anchor(kind, wanted, key, tuple(dict.fromkeys(keys)))


def _judge_scalar(condition: Condition, key: Key, wanted: Any) -> Judge:
    holds = _COMPARE[condition.operator]
    negated = condition.negated
    for_null = condition.operator is Operator.ISDISTINCT and not negated

    def judge(cell: Cell) -> bool:
        if type(cell) is bytes:
            return holds(key(cell), wanted) is not negated
        return for_null and cell is None

    return judge


def _judge_in(key: Key, wanted: frozenset[Any], negated: bool, has_null: bool) -> Judge:  # noqa: FBT001 - two plain facts, called once above
    never_negated = negated and has_null

    def judge(cell: Cell) -> bool:
        if type(cell) is not bytes or never_negated:
            return False
        return (key(cell) in wanted) is not negated

    return judge


def _judge_is(condition: Condition) -> Judge:
    wanted = _IS_VALUES[condition.value.lower()]
    negated = condition.negated

    def judge(cell: Cell) -> bool:
        if cell is not None and type(cell) is not bytes:
            return False
        return (cell in wanted) is not negated

    return judge


def _judge_pattern(condition: Condition, column_type: ColumnType) -> Judge | None:
    """How to judge a pattern locally; None when the database must."""
    if column_type.oid not in TEXTS and column_type.oid != BPCHAR:
        return None
    if not column_type.is_deterministic:
        return None
    pattern = condition.value
    if condition.operator in (Operator.MATCH, Operator.IMATCH):
        # bpchar ~ text compares the padded text; leave that to the database.
        plain = _PLAIN_REGEX.fullmatch(pattern) if column_type.oid != BPCHAR else None
        if plain is None:
            return None
        start, literal, end = plain.groups()
        literal = literal.replace("_", "\\_")
        pattern = f"{'' if start else '%'}{literal}{'' if end else '%'}"
    if condition.operator in (Operator.LIKE, Operator.MATCH):
        return _judge_like(LikePattern(pattern), negated=condition.negated)
    if not pattern.isascii() or ("i" in pattern.lower() and not column_type.is_collation_c):
        return None  # Turkish and its like have other lower cases for I
    return _judge_like(LikePattern(pattern.lower()), negated=condition.negated, fold=True)


def _judge_like(pattern: LikePattern, *, negated: bool, fold: bool = False) -> Judge:
    matches = pattern.matches

    def judge(cell: Cell) -> bool | None:
        if type(cell) is not bytes:
            return False
        if fold:
            if not cell.isascii():
                return None
            cell = cell.lower()
        try:
            verdict = matches(cell.decode())
        except UnicodeDecodeError:
            return None
        return None if verdict is None else verdict is not negated

    return judge


def _check_fits(condition: Condition, column_type: ColumnType) -> None:
    wanted = condition.operator
    if wanted is Operator.IS:
        _check_is(condition.value, column_type)
    elif wanted is Operator.IN and len(condition.values) > IN_VALUES_MAX:
        raise InvalidSubscriptionError(f"too many values for `in` filter. Maximum {IN_VALUES_MAX}")
    elif wanted in _PATTERNS:
        if not column_type.is_textual:
            raise operator_refused(condition, column_type, "it needs a text column")
        _check_pattern(condition)
    elif column_type.oid in WITHOUT_EQUALITY:
        raise operator_refused(condition, column_type, "the type has no such operator")


def _check_is(value: str, column_type: ColumnType) -> None:
    if value.lower() not in _IS_VALUES:
        raise InvalidSubscriptionError(
            "invalid value for is filter: must be null, true, false, or unknown"
        )
    if value.lower() != "null" and column_type.oid != BOOL:
        raise InvalidSubscriptionError(
            f"is {value.lower()} filter requires a boolean column, got {column_type.sql_name}"
        )


def _check_pattern(condition: Condition) -> None:
    if not _is_encodable(condition.value):
        raise InvalidSubscriptionError(f"invalid pattern for {condition.operator.value} filter")
    if condition.operator in (Operator.LIKE, Operator.ILIKE):
        try:
            LikePattern(condition.value)
        except PatternError as error:
            raise InvalidSubscriptionError(
                f"invalid pattern for {condition.operator.value} filter: {error}"
            ) from None
        return
    wrong = ""
    if len(condition.value) > REGEX_CHARS_MAX:
        wrong = f"longer than {REGEX_CHARS_MAX} characters"
    elif _BACK_REFERENCE.search(condition.value):
        wrong = "back-references are not supported"
    if wrong:
        raise InvalidSubscriptionError(
            f"invalid regular expression for {condition.operator.value} filter: {wrong}"
        )


def operator_refused(
    condition: Condition, column_type: ColumnType, why: str
) -> InvalidSubscriptionError:
    """The refusal of an operator that a column's type has not."""
    return InvalidSubscriptionError(
        f"operator {condition.operator.value} is not supported on column {condition.column} "
        f"of type {column_type.sql_name}: {why}"
    )


def _is_encodable(text: str) -> bool:
    """Whether PostgreSQL could take the text at all: UTF-8 without a zero."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


_INTEGERS = {21: 1 << 15, 23: 1 << 31, 20: 1 << 63}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_UUID_OID, _VARCHAR_OID = 2950, 1043


def canonical_without_asking(type_oid: int, literal: str) -> str | None:
    """A literal in its type's output form, where that is plain; None: ask the database.

    Saves the commonest filters a round trip; what it does not know is no error.
    """
    if type_oid in (TEXT, _VARCHAR_OID):
        return literal if _is_encodable(literal) else None
    if type_oid in _INTEGERS and _INTEGER.fullmatch(literal):
        value, bound = int(literal), _INTEGERS[type_oid]
        return str(value) if -bound <= value < bound else None
    if type_oid == _UUID_OID and _UUID.fullmatch(literal):
        return literal.lower()
    return None
