"""Who may see what."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tidewire.core.catalog import Catalog, Table


class ReadDecision(msgspec.Struct, frozen=True):
    """What a role may receive of a table's changes.

    Attributes:
        columns: Names it may see; empty when it may see nothing.
        rows: Whether rows may be delivered at all.
        reason: Why not, for logs and `explain`; "" when allowed.
        has_whole_table: Columns that were renamed or dropped since a change was written may be
            shown in it too.
    """

    columns: frozenset[str]
    rows: bool
    reason: str = ""
    has_whole_table: bool = False


class Authorizer(Protocol):
    """Decides what of the database's changes a role may receive.

    Promise: never allows what a SELECT under that role would not show.
    """

    def read_decision(self, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        """Decide from one state of the catalogue, without a query.

        A role that the catalogue was never asked about may see nothing.
        """
        ...
