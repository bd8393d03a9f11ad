"""How a policy is judged: the cheapest tier that is surely right."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from tidewire.core.catalog import TableColumn
from tidewire.core.policy_local import find_local_rule
from tidewire.core.policy_sets import rewrite_for_sets
from tidewire.core.policy_tokens import Token, TokenKind, tokenize
from tidewire.core.row_policy import VOLATILE_CLAIMS, LocalRule, Tier

SYSTEM_COLUMNS = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})


class PolicyFacts(msgspec.Struct, frozen=True):
    """What must be known of a table to plan its policies.

    Attributes:
        name: The table's name: how the deparser calls it inside sub-selects.
        columns: What the stream carries, by name.
        unstreamed: Names of the other columns: generated ones, or left out by a column list.
        has_standard_claims: Whether the functions of the schema `auth` are the known ones.
    """

    name: str
    columns: Mapping[str, TableColumn]
    unstreamed: frozenset[str] = frozenset()
    has_standard_claims: bool = True


class PolicyPlan(msgspec.Struct, frozen=True):
    """How an expression is judged.

    Attributes:
        tier: The tier.
        claims: Claims that it reads; None when it may read any.
        local: The rule of tier LOCAL.
        sets: The expression for all viewers at once; "" when there is none.
        columns: Columns of the table that it may read.
        qualifiers: Names that stand before a dot: schemas among them.
        words: Names of volatile claims that it mentions.
    """

    tier: Tier
    claims: frozenset[str] | None = None
    local: LocalRule | None = None
    sets: str = ""
    columns: frozenset[str] = frozenset()
    qualifiers: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


def plan_policy(expression: str | None, facts: PolicyFacts) -> PolicyPlan:
    """Choose a tier.

    Args:
        expression: All policies as one, deparsed with only pg_catalog on the search path; None
            when nobody can see anything.
        facts: What is known of the table.
    """
    if expression is None:
        return PolicyPlan(Tier.HIDDEN, claims=frozenset())
    tokens = tokenize(expression)
    if tokens is None:
        # Nothing is known of it: everything is handed over, and what is not there raises.
        return PolicyPlan(Tier.LOOP, columns=frozenset(facts.columns), words=VOLATILE_CLAIMS)
    names = _own_names(tokens, facts.name)
    qualifiers = frozenset(
        token.value for token, after in itertools.pairwise(tokens) if after.text == "."
    )
    words = frozenset(claim for claim in VOLATILE_CLAIMS if claim in expression)
    columns = names & facts.columns.keys()
    if names & (facts.unstreamed | SYSTEM_COLUMNS) or _reads_whole_row(tokens, facts.name):
        return PolicyPlan(Tier.BY_KEY, columns=columns, qualifiers=qualifiers, words=words)
    if facts.has_standard_claims:
        sets = rewrite_for_sets(tokens, facts.columns.keys())
        if sets is not None:
            local = find_local_rule(tokens, facts.columns)
            return PolicyPlan(
                Tier.SETS if local is None else Tier.LOCAL,
                claims=sets.claims,
                local=local,
                sets=sets.text,
                columns=columns,
                qualifiers=qualifiers,
                words=words,
            )
    return PolicyPlan(Tier.LOOP, columns=columns, qualifiers=qualifiers, words=words)


def _own_names(tokens: Sequence[Token], table: str) -> frozenset[str]:
    """Names that may be columns of the table: bare ones, and those behind the table's name."""
    found: set[str] = set()
    for place, token in enumerate(tokens):
        if token.kind is not TokenKind.WORD:
            continue
        if place >= 2 and tokens[place - 1].text == "." and tokens[place - 2].value != table:
            continue
        found.add(token.value)
    return frozenset(found)


def _reads_whole_row(tokens: Sequence[Token], table: str) -> bool:
    return any(
        one.value == table and dot.text == "." and star.text == "*"
        for one, dot, star in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )
