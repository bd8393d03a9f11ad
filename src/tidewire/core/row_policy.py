"""What decides which rows of a table someone may see: one role's policies, as a value.

Who is asked about is named by a *viewer key*: the claims that the policies can tell apart, as
JSON. All who share a key see the same rows, so they are judged once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

VOLATILE_CLAIMS = frozenset({"exp", "iat", "nbf", "jti", "session_id"})
"""Claims that change with each token of the same user; no part of a key unless a policy or a
function of the database names them."""


class Tier(enum.Enum):
    """How a policy is judged, the cheapest that is right."""

    LOCAL = "local"  # column = claim: looked up here, no query
    SETS = "sets"  # one statement for all keys and rows
    LOOP = "loop"  # one statement for each key over all rows, in one call
    BY_KEY = "by_key"  # the row as the table has it, looked up by its primary key
    HIDDEN = "hidden"  # no permissive policy: nobody sees anything


class RowPolicy:
    """One role's policies on one table, for SELECT, in one state of the catalogue.

    Compared by identity: another state of the catalogue has other objects.

    Attributes:
        table_oid: The table.
        role: Whom the policies bind.
        expression: All of them as one boolean SQL expression over the table's columns.
        tier: How it is judged.
        claims: Names of the claims that it reads; None when it may read any.
        kept: Volatile claims that it may read nevertheless; of meaning when `claims` is None.
    """

    __slots__ = ("claims", "expression", "kept", "role", "table_oid", "tier")

    def __init__(
        self,
        table_oid: int,
        role: str,
        expression: str,
        tier: Tier,
        *,
        claims: frozenset[str] | None = None,
        kept: frozenset[str] = frozenset(),
    ) -> None:
        self.table_oid = table_oid
        self.role = role
        self.expression = expression
        self.tier = tier
        self.claims = claims
        self.kept = kept

    def viewer_key(self, claims: Mapping[str, Any]) -> bytes:
        """The key of someone with these claims: JSON with sorted keys."""
        if self.claims is None:
            dropped = VOLATILE_CLAIMS - self.kept
            read = {name: value for name, value in claims.items() if name not in dropped}
        else:
            read = {name: claims[name] for name in self.claims if name in claims}
        return msgspec.json.encode(read, order="sorted")
