"""Questions about single values that only PostgreSQL can answer for sure.

Users' texts travel as elements of text arrays; types, operators and collations come from the
catalogue and from the tables here, never from a user. A value that raises fails a whole
statement, so a batch that fails is halved until the culprits are alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from tidewire.adapters.postgres.query_session import (
    QuerySession,
    StatementError,
    StatementTimeoutError,
)
from tidewire.ports.catalog_source import Comparison, LiteralRequest

BATCH_MAX = 1_000
STATEMENTS_MAX = 64
"""How often a failing batch may be halved; what is still untold then counts as raised."""

TIMEOUTS_MAX = 6
"""Statements of one call that may take too long, because the stream waits for the answer; what is
still untold then counts as raised."""

_OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    # Never of NULL. Spelt "is distinct from", it would look for its operator by search path.
    "isdistinct": "<>",
    "like": "~~",
    "ilike": "~~*",
    "match": "~",
    "imatch": "~*",
}
_PATTERNS = frozenset({"like", "ilike", "match", "imatch"})


class TypeName(msgspec.Struct, frozen=True):
    """How a type is written in a query.

    Attributes:
        qualified: Schema and name, quoted.
        operator_schema: Quoted schema of its own operators; "" to let PostgreSQL choose.
        has_array: Whether there is a type of arrays of it.
        schema: Its schema, not quoted.
    """

    qualified: str
    operator_schema: str = ""
    has_array: bool = True
    schema: str = ""


Item = TypeVar("Item")
Answer = TypeVar("Answer")
Ask = Callable[[str, Sequence[Item]], Awaitable[Sequence[Answer | None]]]


async def canonical_literals(
    session: QuerySession, type_names: Mapping[int, TypeName], requests: Sequence[LiteralRequest]
) -> list[str | None]:
    """Each literal in its type's output form; None where it is no value of the type.

    Raises:
        DatabaseUnavailableError: No answer within the deadline.
    """

    def type_of(request: LiteralRequest) -> str | None:
        type_name = type_names.get(request.type_oid)
        return type_name.qualified if type_name is not None and _fits(request.text) else None

    async def ask(type_name: str, texts: Sequence[LiteralRequest]) -> list[str | None]:
        # format's %s uses the type's output function; a cast to text would turn t into true.
        rows = await session.fetch(
            f"select pg_catalog.format('%s', u.x::{type_name}) as answer "  # noqa: S608 - a quoted name from the catalogue
            "from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality u(x, n) order by u.n",
            [request.text for request in texts],
        )
        return [row["answer"] for row in rows]

    return await _ask_by_group(
        requests,
        type_of,
        ask,
    )


async def compare(
    session: QuerySession,
    type_names: Mapping[int, TypeName],
    collations: Mapping[tuple[int, str], str],
    comparisons: Sequence[Comparison],
) -> list[bool | None]:
    """Judge comparisons; None where one raised.

    Args:
        session: Where to ask.
        type_names: Qualified and quoted names by oid.
        collations: Qualified and quoted collation by (table oid, column); "" or absent means
            the database's own.
        comparisons: What to judge.

    Raises:
        DatabaseUnavailableError: No answer within the deadline.
    """

    def shape(comparison: Comparison) -> str | None:
        type_name = type_names.get(comparison.type_oid)
        wanted = comparison.operator
        if type_name is None or wanted not in _OPERATORS:
            return None
        if not (_fits(comparison.literal) and _fits(comparison.value)):
            return None
        collation = collations.get((comparison.table_oid, comparison.column), "")
        left = f"u.v::{type_name.qualified}" + (f" collate {collation}" if collation else "")
        # A pattern is text; as the column's type its trailing blanks might be lost.
        right = "u.l" if wanted in _PATTERNS else f"u.l::{type_name.qualified}"
        return f"{left} {_operator(wanted, type_name.operator_schema)} {right}"

    async def ask(expression: str, group: Sequence[Comparison]) -> list[bool | None]:
        rows = await session.fetch(
            f"select {expression} as answer from "  # noqa: S608 - made of names from the catalogue and the table above
            "rows from (pg_catalog.unnest($1::pg_catalog.text[]), "
            "pg_catalog.unnest($2::pg_catalog.text[])) "
            "with ordinality u(v, l, n) order by u.n",
            [comparison.value for comparison in group],
            [comparison.literal for comparison in group],
        )
        return [row["answer"] for row in rows]

    return await _ask_by_group(comparisons, shape, ask)


def _operator(wanted: str, schema: str) -> str:
    # Without the schema, a type of an extension (citext) would be compared as what it casts to.
    symbol = _OPERATORS[wanted]
    return f"operator({schema}.{symbol})" if schema else symbol


async def _ask_by_group(
    items: Sequence[Item],
    key_of: Callable[[Item], str | None],
    ask: Ask[Item, Answer],
) -> list[Answer | None]:
    answers: list[Answer | None] = [None] * len(items)
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        key = key_of(item)
        if key is not None:
            groups.setdefault(key, []).append(place)
    timeouts_left = TIMEOUTS_MAX
    for key, places in groups.items():
        for start in range(0, len(places), BATCH_MAX):
            batch = places[start : start + BATCH_MAX]
            timeouts_left = await _ask_halving(items, batch, key, ask, answers, timeouts_left)
    return answers


async def _ask_halving(
    items: Sequence[Item],
    places: list[int],
    key: str,
    ask: Ask[Item, Answer],
    answers: list[Answer | None],
    timeouts_left: int,
) -> int:
    """Ask for a batch; where it fails, for its halves, until single items have failed.

    Returns:
        How many more statements may take too long.
    """
    waiting = [places]
    for _ in range(STATEMENTS_MAX):
        if not waiting or not timeouts_left:
            break
        batch = waiting.pop()
        try:
            found = await ask(key, [items[place] for place in batch])
        except StatementError as error:
            timeouts_left -= isinstance(error, StatementTimeoutError)
            if len(batch) > 1:
                middle = len(batch) // 2
                waiting += [batch[:middle], batch[middle:]]
            continue
        for place, answer in zip(batch, found, strict=True):
            answers[place] = answer
    return timeouts_left


def _fits(text: str) -> bool:
    """Whether PostgreSQL can take the text at all: UTF-8 without a zero."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
