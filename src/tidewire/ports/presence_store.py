"""Keeps who is present where, for all nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidewire.core.presence_state import PresenceDiff, PresenceMeta


class PresenceStore(Protocol):
    """Presence of all topics.

    Promise: every node that listens sees each topic's diffs in one order, and `state` is the
    sum of the diffs before it. Metas are told apart by `PresenceMeta.ref`.
    """

    def listen(self, on_diff: Callable[[str, PresenceDiff], None]) -> None:
        """Name the one function that takes (topic key, diff). Must not block."""
        ...

    def state(self, topic: str) -> dict[str, tuple[PresenceMeta, ...]]:
        """Who is present on a topic: key to metas, in the order they were tracked."""
        ...

    def track(self, topic: str, key: str, meta: PresenceMeta) -> None:
        """Add `meta`, replacing the one it names as `previous_ref`, as one diff."""
        ...

    def untrack(self, topic: str, key: str, ref: str) -> None:
        """Remove the meta with this ref; unknown is fine."""
        ...
