"""Which policies may call what PostgreSQL works out while it plans a statement.

A function that is declared immutable is called once, by the planner, where its arguments are known.
Many that read claims or tables are wrongly declared so. Their result stands in the plan, and a plan
that is kept would tell it to every viewer. Nothing says what a function reads, so each one that is
declared so counts, and whatever calls one of these.

Names are compared and not meanings: one too many costs time, one too few would judge somebody by
another's claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_WORD = re.compile(r"\w+")
_CALL = re.compile(r'(\w+)"?\s*\(')
_NOTHING: frozenset[str] = frozenset()


class Definition(msgspec.Struct, frozen=True):
    """Something of the database that a policy may name.

    Attributes:
        name: Of a function, or of a view or table.
        text: Its source; of a table, one of its policies.
        is_function: Whether it is called.
        is_immutable: Whether it is a function that is declared so.
    """

    name: str
    text: str
    is_function: bool
    is_immutable: bool = False


class EarlyNames(msgspec.Struct, frozen=True):
    """Names behind which such a call may stand.

    Attributes:
        functions: Names of functions, in small letters.
        relations: The same of views and tables.
    """

    functions: frozenset[str] = _NOTHING
    relations: frozenset[str] = _NOTHING

    def are_in(self, text: str) -> bool:
        """Whether SQL may make such a call."""
        small = text.lower()
        return not (
            self.functions.isdisjoint(_CALL.findall(small))
            and self.relations.isdisjoint(_WORD.findall(small))
        )


def early_names(definitions: Iterable[Definition]) -> EarlyNames:
    """The names, found through as many definitions as there are."""
    waiting = list(definitions)
    names = EarlyNames()
    while True:
        found: list[Definition] = []
        rest: list[Definition] = []
        for one in waiting:
            (found if one.is_immutable or names.are_in(one.text) else rest).append(one)
        if not found:
            return names
        waiting = rest
        names = EarlyNames(
            names.functions.union(_last_word(one.name) for one in found if one.is_function),
            names.relations.union(_last_word(one.name) for one in found if not one.is_function),
        )


def _last_word(name: str) -> str:
    """What of a name is looked for: a quoted one may hold anything."""
    words = _WORD.findall(name.lower())
    return words[-1] if words else ""
