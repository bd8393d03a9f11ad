"""Several policies of one table as one expression.

Source: PostgreSQL manual, CREATE POLICY: permissive policies are joined by OR, restrictive ones by
AND; without a permissive one nothing is visible.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """One policy that applies to a role's SELECT.

    Attributes:
        is_permissive: Else it is restrictive.
        expression: Its USING, deparsed; ``true`` where it has none.
    """

    is_permissive: bool
    expression: str


def combine(policies: Iterable[Policy]) -> str | None:
    """One boolean expression for all policies; None when nobody can see anything."""
    kept = list(policies)
    permissive = [policy.expression for policy in kept if policy.is_permissive]
    if not permissive:
        return None
    parts = [policy.expression for policy in kept if not policy.is_permissive]
    parts.append(_in_parentheses(" OR ", permissive))
    return _in_parentheses(" AND ", parts)


def _in_parentheses(joint: str, expressions: list[str]) -> str:
    if len(expressions) == 1:
        return expressions[0]
    return joint.join(f"({expression})" for expression in expressions)
