"""Changes that are routed together."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tidewire.core.change import Change
from tidewire.core.filter_index import Node
from tidewire.engine.change_group import Binding
from tidewire.engine.table_route import TableRoute

CHANGES_MAX = 256
BYTES_MAX = 65_536
"""Of row data; well below what an outbox takes beyond its limit."""


class Step(msgspec.Struct):
    """One change of a batch on its way.

    Attributes:
        change: What happened.
        timestamp: When it was committed, as the wire has it.
        route: Of its table; None when nobody wants that table's changes.
        hits: Nodes that it meets.
        problem: Why it could not be matched, or "".
    """

    change: Change
    timestamp: bytes
    route: TableRoute | None = None
    hits: list[Node[Binding]] = []
    problem: str = ""


class Batch:
    """Changes in commit order, up to a bound on their number and size."""

    __slots__ = ("_size_bytes", "_steps")

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    @property
    def is_full(self) -> bool:
        """Whether it is to be delivered before more is added."""
        return len(self._steps) >= CHANGES_MAX or self._size_bytes >= BYTES_MAX

    def add(self, change: Change, timestamp: bytes) -> None:
        """Put a change behind the others."""
        self._steps.append(Step(change, timestamp))
        self._size_bytes += len(change.new or b"") + len(change.old or b"")

    def clear(self) -> None:
        """Begin anew."""
        self._steps.clear()
        self._size_bytes = 0
