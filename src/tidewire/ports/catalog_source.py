"""Where the catalogue comes from, and questions only the database can answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidewire.core.catalog import Catalog


class LiteralRequest(msgspec.Struct, frozen=True):
    """A literal to bring into the form in which the stream shows its type.

    Attributes:
        type_oid: The column's type.
        text: What the user wrote.
    """

    type_oid: int
    text: str


class Comparison(msgspec.Struct, frozen=True):
    """``value operator literal`` for the database to judge.

    Attributes:
        type_oid: Type of both sides.
        operator: One of eq, neq, lt, lte, gt, gte, like, ilike, match, imatch, isdistinct.
        literal: Right side, text.
        value: Left side, text as the stream has it; never NULL.
        table_oid: Table of the column, for its collation.
        column: The column's name.
    """

    type_oid: int
    operator: str
    literal: str
    value: str
    table_oid: int
    column: str


class CatalogSource(Protocol):
    """Reads the catalogue.

    Promise: no answer of `refresh` is older than the call. Calls at the same time share work:
    at most one read runs and one waits, however many ask.
    """

    @property
    def current(self) -> Catalog:
        """The last state read, without any query. Empty before the first read."""
        ...

    async def refresh(self, role: str | None = None, *, xid: int = 0) -> Catalog:
        """Read what changed, by a cheap fingerprint first.

        Args:
            role: A role whose access must be in the answer from now on.
            xid: A transaction whose doing must be in the answer, 32 bits; 0 for none. The log
                tells of a commit before queries show it: for a moment, or for as long as it waits
                for a standby.

        Raises:
            DatabaseUnavailableError: No answer within the deadline, or one without that
                transaction; ask again.
        """
        ...

    async def canonical_literals(self, requests: Sequence[LiteralRequest]) -> list[str | None]:
        """Each literal in its type's output form; None where it is no value of the type.

        Literals travel as parameters only.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        ...

    async def compare(self, comparisons: Sequence[Comparison]) -> list[bool | None]:
        """Judge comparisons in the database, in one round trip; None where one raised.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        ...
