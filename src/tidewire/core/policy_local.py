"""Policies of the form ``column = claim``, which need no database to judge.

A value is compared by its text, so only types are taken whose equal values have one text, and
only claims whose text is surely what PostgreSQL would make of them. All else is *unsure*, and
left to PostgreSQL.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from tidewire.core.catalog import TableColumn
from tidewire.core.column_type import INT2, INT4, INT8, TEXT, UUID, VARCHAR
from tidewire.core.policy_tokens import Token, TokenKind
from tidewire.core.row_policy import LocalRule


class Unsure(enum.Enum):
    """The type of `UNSURE`, so that a type checker can tell it apart."""

    UNSURE = "unsure"


UNSURE = Unsure.UNSURE
"""PostgreSQL has to say what this claim is as a value of the column's type."""

CLAIM_FUNCTIONS = {"uid": "sub", "role": "role", "email": "email"}
"""Functions of the schema `auth` and the claim that each reads; `auth.jwt()` reads all."""

_INT_BYTES = {"smallint": 2, "integer": 4, "bigint": 8}
_COLUMN_TYPES = {UUID: "uuid", INT2: "smallint", INT4: "integer", INT8: "bigint", TEXT: "text"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DEPTH_MAX = 16


def wanted_text(rule: LocalRule, key: bytes) -> bytes | Unsure | None:
    """The text that the rule's column must have for a viewer key; None: no row matches."""
    if b"\\u0000" in key:
        return UNSURE  # jsonb takes no such text
    value: Any = msgspec.json.decode(key)
    for name in rule.path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(name)
    text = _claim_text(value)
    for type_name in rule.casts:
        if not isinstance(text, str):
            break
        text = _converted(text, type_name)
    return text.encode() if isinstance(text, str) else text


class _Claim(msgspec.Struct, frozen=True):
    path: tuple[str, ...]
    casts: tuple[str, ...] = ()


def find_local_rule(
    tokens: Sequence[Token], columns: Mapping[str, TableColumn]
) -> LocalRule | None:
    """The rule that an expression is; None when it is anything else."""
    tokens = without_parentheses(tokens)
    place = _only_top_level(tokens, "=")
    if place is None:
        return None
    sides = tokens[:place], tokens[place + 1 :]
    for one, other in (sides, sides[::-1]):
        column, claim = _column(one, columns), _claim(other)
        if column is not None and claim is not None:
            return _checked(column, claim)
    return None


def without_parentheses(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens inside of parentheses that enclose them all."""
    while len(tokens) > 2 and tokens[0].text == "(" and closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def closing(tokens: Sequence[Token], opening: int) -> int:
    """Where the parenthesis that opens at `opening` closes; -1 when it does not."""
    depth = 0
    for place in range(opening, len(tokens)):
        text = tokens[place].text
        depth += (text == "(") - (text == ")")
        if not depth:
            return place
    return -1


def _only_top_level(tokens: Sequence[Token], operator: str) -> int | None:
    """The place of an operator that stands outside parentheses, beside no other operator."""
    depth, found = 0, None
    for place, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth or token.kind is not TokenKind.OPERATOR:
            continue
        if found is not None or token.text != operator:
            return None
        found = place
    return found


def _column(tokens: Sequence[Token], columns: Mapping[str, TableColumn]) -> tuple[str, str] | None:
    """(column, SQL type that it is compared as)."""
    inner, cast_to = _split_cast(without_parentheses(tokens))
    inner = without_parentheses(inner)
    if len(inner) != 1 or inner[0].kind is not TokenKind.WORD:
        return None
    column = columns.get(inner[0].value)
    if column is None or not column.is_deterministic:
        return None
    own = _COLUMN_TYPES.get(column.type_oid)
    if cast_to == "text" and (own is not None or column.type_oid == VARCHAR):
        return column.name, "text"
    return (column.name, own) if own is not None and cast_to is None else None


def _claim(tokens: Sequence[Token], depth: int = 0) -> _Claim | None:
    """A claim's value, with the casts around it."""
    tokens = _without_select(without_parentheses(tokens))
    if depth > _DEPTH_MAX or not tokens:
        return None
    function = _claim_function(tokens)
    if function in CLAIM_FUNCTIONS:
        return _Claim((CLAIM_FUNCTIONS[function],), ("uuid",) if function == "uid" else ())
    place = _only_top_level(tokens, "->>")
    if place is not None:
        name, above = _key(tokens[place + 1 :]), _object(tokens[:place], depth + 1)
        return None if name is None or above is None else _Claim((*above, name))
    inner, cast_to = _split_cast(tokens)
    if cast_to is None:
        return None
    claim = _claim(inner, depth + 1)
    return None if claim is None else _Claim(claim.path, (*claim.casts, cast_to))


def _object(tokens: Sequence[Token], depth: int) -> tuple[str, ...] | None:
    """The path of an object within the claims; () for all of them."""
    tokens = _without_select(without_parentheses(tokens))
    if depth > _DEPTH_MAX:
        return None
    if _claim_function(tokens) == "jwt":
        return ()
    place = _only_top_level(tokens, "->")
    if place is None:
        return None
    name, above = _key(tokens[place + 1 :]), _object(tokens[:place], depth + 1)
    return None if name is None or above is None else (*above, name)


def _key(tokens: Sequence[Token]) -> str | None:
    inner, cast_to = _split_cast(tokens)
    if len(inner) == 1 and inner[0].kind is TokenKind.STRING and cast_to in (None, "text"):
        return inner[0].value
    return None


def _without_select(tokens: Sequence[Token]) -> Sequence[Token]:
    """``SELECT x AS name`` is ``x``."""
    if len(tokens) < 4 or not tokens[0].is_keyword("SELECT") or not tokens[-2].is_keyword("AS"):
        return tokens
    return without_parentheses(tokens[1:-2])


def _claim_function(tokens: Sequence[Token]) -> str:
    texts = [token.text for token in tokens]
    return texts[2] if len(texts) == 5 and texts[:2] + texts[3:] == ["auth", ".", "(", ")"] else ""


def _split_cast(tokens: Sequence[Token]) -> tuple[Sequence[Token], str | None]:
    """(what is cast, type); None when there is no cast at the end."""
    if len(tokens) > 2 and tokens[-2].text == "::":
        return tokens[:-2], tokens[-1].text
    return tokens, None


def _checked(column: tuple[str, str], claim: _Claim) -> LocalRule | None:
    name, compared_as = column
    last = claim.casts[-1] if claim.casts else "text"
    known = all(c in _INT_BYTES or c in ("uuid", "text") for c in claim.casts)
    both_integers = last in _INT_BYTES and compared_as in _INT_BYTES
    if not known or not (last == compared_as or both_integers):
        return None
    return LocalRule(name, claim.path, claim.casts)


def _claim_text(value: Any) -> str | Unsure | None:
    """What ``->>`` makes of a JSON value."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else UNSURE


def _converted(text: str, wanted: str) -> str | Unsure:
    if wanted == "text":
        return text
    if wanted == "uuid":
        return text.lower() if _UUID.fullmatch(text) else UNSURE
    if not _INTEGER.fullmatch(text):
        return UNSURE
    bound = 1 << 8 * _INT_BYTES[wanted] - 1
    return text if -bound <= int(text) < bound else UNSURE
