"""Who may see what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidewire.core.catalog import Catalog, Table
from tidewire.core.change import Relation
from tidewire.core.row_policy import RowPolicy


class ReadDecision(msgspec.Struct, frozen=True):
    """What a role may receive of a table's changes.

    Attributes:
        columns: Names it may see; empty when it may see nothing.
        rows: Whether rows may be delivered at all.
        reason: Why not, for logs and `explain`; "" when allowed.
        has_whole_table: Columns that were renamed or dropped since a change was written may be
            shown in it too.
        policy: What every row must be judged by; None when all rows may be delivered. The same
            object as long as the catalogue says the same of it.
    """

    columns: frozenset[str]
    rows: bool
    reason: str = ""
    has_whole_table: bool = False
    policy: RowPolicy | None = None


class RowQuestion(msgspec.Struct, frozen=True, gc=False):
    """Who of some viewers may see one image of a row.

    Attributes:
        table: The table as the catalogue has it.
        relation: The version of it that the row was written with.
        policy: What decides.
        row: The image as pgoutput tuple data; all columns are there or, as unchanged, in
            `fallback`.
        fallback: The whole old row that unchanged values stand in; None when there is none.
        keys: Viewer keys of `policy` that are asked about.
        xid: Transaction that wrote the change, 32 bits.
    """

    table: Table
    relation: Relation
    policy: RowPolicy
    row: bytes
    fallback: bytes | None
    keys: frozenset[bytes]
    xid: int = 0


class RowVerdict(msgspec.Struct, frozen=True, gc=False):
    """The answer to a `RowQuestion`.

    Attributes:
        visible: Keys that may see the row.
        failed: Keys for which the policy raised: they see nothing, and are told so.
    """

    visible: frozenset[bytes]
    failed: frozenset[bytes] = frozenset()


class Authorizer(Protocol):
    """Decides what of the database's changes a role may receive.

    Promise: never allows what a SELECT under that role and those claims would not show.
    """

    def read_decision(self, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        """Decide from one state of the catalogue, without a query.

        A role that the catalogue was never asked about may see nothing.
        """
        ...

    async def judge(self, questions: Sequence[RowQuestion]) -> list[RowVerdict]:
        """Judge rows, all in as few round trips as can be; verdicts in the order of questions.

        A claim or row that makes a policy raise fails its own key only.

        Raises:
            DatabaseUnavailableError: No answer within the deadline; nothing was judged.
        """
        ...
