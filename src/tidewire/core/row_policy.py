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


class LocalRule(msgspec.Struct, frozen=True):
    """``column = claim``, recognised; judged by `core.policy_local`.

    Attributes:
        column: Name of the column.
        path: Keys from the claims down to the value.
        casts: SQL types that the claim's text is brought into, in order.
    """

    column: str
    path: tuple[str, ...]
    casts: tuple[str, ...]


class PolicyColumn(msgspec.Struct, frozen=True):
    """A column that a policy may read, as it is handed to the database.

    Attributes:
        name: Column name.
        type_oid: Its data type when the policy was read.
        type_name: That type, qualified and quoted.
        as_array: Whether its values can be handed over as one array of that type; else each is
            cast by itself (arrays, because there are no arrays of arrays).
        delimiter: What parts the elements of such an array.
        operator_schema: Quoted schema of the type's own operators; "" to let PostgreSQL choose.
    """

    name: str
    type_oid: int
    type_name: str
    as_array: bool = True
    delimiter: str = ","
    operator_schema: str = ""


class RowPolicy:
    """One role's policies on one table, for SELECT, in one state of the catalogue.

    Compared by identity: where the catalogue says something else, there is another object.

    Attributes:
        table_oid: The table.
        role: Whom the policies bind.
        expression: All of them as one boolean SQL expression over the table's columns.
        tier: How it is judged.
        claims: Names of the claims that it reads; None when it may read any.
        kept: Volatile claims that it may read nevertheless; of meaning when `claims` is None.
        table_name: How the expression calls the table.
        local: What tier LOCAL compares; None in every other.
        sets: The expression over columns and the relation of claims; "" when it cannot be written.
        columns: What of the row is handed over.
        key: The primary key; () when there is none.
        streamed: (name, type oid) of all columns that the stream carries, in order.
        bound_schemas: All schemas that the expression names, if the role may not look into one of
            them; then somebody else has to look the names up. Empty where the role can.
        plans_anew: Whether each viewer needs plans of his own, because what the expression calls
            may be worked out while planning; see `core.early_calls`.
    """

    __slots__ = (
        "bound_schemas",
        "claims",
        "columns",
        "expression",
        "kept",
        "key",
        "local",
        "plans_anew",
        "role",
        "sets",
        "streamed",
        "table_name",
        "table_oid",
        "tier",
    )

    def __init__(
        self,
        table_oid: int,
        role: str,
        expression: str,
        tier: Tier,
        *,
        claims: frozenset[str] | None = None,
        kept: frozenset[str] = frozenset(),
        table_name: str = "",
        local: LocalRule | None = None,
        sets: str = "",
        columns: tuple[PolicyColumn, ...] = (),
        key: tuple[PolicyColumn, ...] = (),
        streamed: tuple[tuple[str, int], ...] = (),
        bound_schemas: frozenset[str] = frozenset(),
        plans_anew: bool = False,
    ) -> None:
        self.table_oid = table_oid
        self.role = role
        self.expression = expression
        self.tier = tier
        self.claims = claims
        self.kept = kept
        self.table_name = table_name
        self.local = local
        self.sets = sets
        self.columns = columns
        self.key = key
        self.streamed = streamed
        self.bound_schemas = bound_schemas
        self.plans_anew = plans_anew

    def says_the_same(self, other: RowPolicy) -> bool:
        """Whether every attribute is equal."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def viewer_key(self, claims: Mapping[str, Any]) -> bytes:
        """The key of someone with these claims: JSON with sorted keys."""
        if self.claims is None:
            dropped = VOLATILE_CLAIMS - self.kept
            read = {name: value for name, value in claims.items() if name not in dropped}
        else:
            read = {name: claims[name] for name in self.claims if name in claims}
        return msgspec.json.encode(read, order="sorted")
