"""Policies whose claims can be columns of a relation, so that one statement judges everybody.

Each call of a claim function becomes a column of the relation ``"~viewer"``. That is right only
where nothing else of the expression can know who asks: so every other token must be on the
lists below. Names without a schema are those of pg_catalog, because the expression was deparsed
with nothing else on the search path.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from tidewire.core.policy_local import CLAIM_FUNCTIONS, closing
from tidewire.core.policy_tokens import Token, TokenKind

VIEWER = '"~viewer"'
"""The relation of claims: columns ``"~uid"``, ``"~jwt"``, ``"~role"``, ``"~email"``."""

_FUNCTIONS = frozenset(
    [
        "lower",
        "upper",
        "coalesce",
        "nullif",
        "length",
        "char_length",
        "btrim",
        "ltrim",
        "rtrim",
        "abs",
        "greatest",
        "least",
        "cardinality",
        "array_length",
        "starts_with",
        "strpos",
        "now",
        "jsonb_typeof",
        "string_to_array",
        "array_position",
        "date_trunc",
        "date_part",
    ]
)
_KEYWORDS = frozenset(
    [
        "AND",
        "OR",
        "NOT",
        "IS",
        "NULL",
        "TRUE",
        "FALSE",
        "IN",
        "ANY",
        "ALL",
        "ARRAY",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "DISTINCT",
        "CURRENT_DATE",
        "CURRENT_TIMESTAMP",
    ]
)
_TYPE_WORDS = frozenset(
    [
        "text",
        "bigint",
        "integer",
        "smallint",
        "uuid",
        "numeric",
        "boolean",
        "date",
        "timestamp",
        "time",
        "with",
        "without",
        "zone",
        "character",
        "varying",
        "double",
        "precision",
        "real",
        "jsonb",
        "json",
        "bytea",
        "interval",
        "name",
        "bpchar",
        "inet",
        "cidr",
    ]
)
_BEFORE_SCALAR = frozenset(["AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "CASE"])


class SetExpression(msgspec.Struct, frozen=True):
    """An expression rewritten for all viewers at once.

    Attributes:
        text: SQL over the table's columns and those of `VIEWER`.
        claims: Claims that it reads; None when it takes them all.
    """

    text: str
    claims: frozenset[str] | None


def rewrite_for_sets(tokens: Sequence[Token], columns: Collection[str]) -> SetExpression | None:
    """The expression with claim functions as columns; None when a token is not known to be safe."""
    return _Rewriter(tokens, columns).run()


class _Rewriter:
    def __init__(self, tokens: Sequence[Token], columns: Collection[str]) -> None:
        self._tokens = tokens
        self._columns = columns
        self._claims: set[str] = set()
        self._takes_all = False
        self._dropped: set[int] = set()  # of ``AS name`` that ends a scalar sub-select

    def run(self) -> SetExpression | None:
        out: list[str] = []
        place = 0
        while place < len(self._tokens):
            length = self._take(place, out)
            if not length:
                return None
            place += length
        return SetExpression(" ".join(out), None if self._takes_all else frozenset(self._claims))

    def _take(self, place: int, out: list[str]) -> int:
        """Append what stands at `place`; says how many tokens that was, 0 for an unsafe one."""
        token = self._tokens[place]
        if place in self._dropped:
            return 2
        if token.text == "::":
            return self._take_cast(place, out)
        if token.text == "auth" and self._text(place + 1) == ".":
            return self._take_claim(place, out)
        if token.is_keyword("SELECT"):
            return int(self._is_scalar(place))
        is_word = token.kind is TokenKind.WORD
        if self._is_safe_word(place) if is_word else token.text not in (".", ":=", ";"):
            out.append(token.text)
            return 1
        return 0

    def _take_cast(self, place: int, out: list[str]) -> int:
        end = place + 1
        while self._text(end) in _TYPE_WORDS:
            end += 1
        if end == place + 1:
            return 0
        out.append("::" + " ".join(token.text for token in self._tokens[place + 1 : end]))
        return end - place

    def _take_claim(self, place: int, out: list[str]) -> int:
        name = self._text(place + 2)
        if [self._text(place + 3), self._text(place + 4)] != ["(", ")"]:
            return 0
        if name in CLAIM_FUNCTIONS:
            self._claims.add(CLAIM_FUNCTIONS[name])
        elif name == "jwt":
            claim = self._claim_of(place, place + 5)
            if claim is None:
                self._takes_all = True
            else:
                self._claims.add(claim)
        else:
            return 0
        out.append(f'{VIEWER}."~{name}"')
        return 5

    def _claim_of(self, start: int, end: int) -> str | None:
        """The claim that is taken of what stands in [start, end), through parentheses around."""
        while True:
            if self._word(start - 1, "SELECT") and self._word(end, "AS"):
                start, end = start - 1, end + 2
            elif self._text(start - 1) == "(" and self._text(end) == ")":
                if self._is_callee(start - 2):
                    return None
                start, end = start - 1, end + 1
            else:
                break
        if self._text(end) not in ("->", "->>") or end + 1 >= len(self._tokens):
            return None
        key = self._tokens[end + 1]
        return key.value if key.kind is TokenKind.STRING else None

    def _is_scalar(self, place: int) -> bool:
        """Whether ``SELECT`` begins ``( SELECT x AS name )``, which is ``( x )``."""
        if self._text(place - 1) != "(" or self._is_callee(place - 2):
            return False
        end = closing(self._tokens, place - 1)
        if end < place + 3 or not self._word(end - 2, "AS"):
            return False
        depth = 0
        for token in self._tokens[place:end]:
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            if token.text == "," and not depth:
                return False
        self._dropped.add(end - 2)
        return True

    def _is_safe_word(self, place: int) -> bool:
        token = self._tokens[place]
        is_call = self._text(place + 1) == "("
        if token.is_quoted:
            return token.value in self._columns and not is_call
        if token.text == "FROM":
            return self._word(place - 1, "DISTINCT") and self._text(place - 2) in ("IS", "NOT")
        if token.text in _KEYWORDS:
            return True
        if is_call:
            return token.text.lower() in _FUNCTIONS
        return token.text in self._columns or token.text in ("true", "false")

    def _is_callee(self, place: int) -> bool:
        if place < 0 or self._tokens[place].kind is not TokenKind.WORD:
            return False
        return self._tokens[place].text not in _BEFORE_SCALAR

    def _text(self, place: int) -> str:
        return self._tokens[place].text if 0 <= place < len(self._tokens) else ""

    def _word(self, place: int, word: str) -> bool:
        return 0 <= place < len(self._tokens) and self._tokens[place].is_keyword(word)
