"""Changes that are routed together."""

from __future__ import annotations

import msgspec

from tidewire.core.change import Change
from tidewire.core.filter_index import Node
from tidewire.core.message import Message
from tidewire.core.row_policy import RowPolicy
from tidewire.engine.change_group import Binding
from tidewire.engine.change_plan import Plan
from tidewire.engine.table_route import TableRoute

CHANGES_MAX = 256
BYTES_MAX = 65_536
"""Of row data; well below what an outbox takes beyond its limit."""


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What is known of who may see an image of a row by one policy.

    Attributes:
        asked: Viewer keys that were asked about.
        visible: Those that may see it.
        failed: Those for which the policy raised.
    """

    asked: frozenset[bytes]
    visible: frozenset[bytes]
    failed: frozenset[bytes]


class Step(msgspec.Struct):
    """One change of a batch on its way.

    Attributes:
        change: What happened.
        timestamp: When it was committed, as the wire has it.
        xid: The transaction that made it, 32 bits.
        message: The broadcast that it is, if any.
        route: Of its table; None when nobody wants that table's changes.
        hits: Nodes that the row which filters look at meets.
        former_hits: Nodes that the old row of an update meets, where leaves are wanted.
        plan: Who is offered it.
        new_judged: What is known of its new row, by policy.
        old_judged: The same of its old row.
        problem: Why it could not be matched, or "".
    """

    change: Change
    timestamp: bytes
    xid: int = 0
    message: Message | None = None
    route: TableRoute | None = None
    hits: list[Node[Binding]] = []
    former_hits: list[Node[Binding]] = []
    plan: Plan | None = None
    new_judged: dict[RowPolicy, Judged] = {}
    old_judged: dict[RowPolicy, Judged] = {}
    problem: str = ""


class Batch:
    """Changes in commit order, up to a bound on their number and size.

    Attributes:
        steps: The changes; to be added to by `add` alone.
    """

    __slots__ = ("_size_bytes", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def is_full(self) -> bool:
        """Whether it is to be delivered before more is added."""
        return len(self.steps) >= CHANGES_MAX or self._size_bytes >= BYTES_MAX

    def add(
        self, change: Change, timestamp: bytes, xid: int = 0, message: Message | None = None
    ) -> None:
        """Put a change behind the others."""
        self.steps.append(Step(change, timestamp, xid, message))
        self._size_bytes += len(change.new or b"") + len(change.old or b"")

    def clear(self) -> None:
        """Begin anew."""
        self.steps.clear()
        self._size_bytes = 0
