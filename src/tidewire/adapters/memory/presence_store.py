"""Presence of a cluster of one node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tidewire.core.presence_state import PresenceDiff, PresenceMeta, PresenceState

DiffListener = Callable[[str, PresenceDiff], None]


class MemoryPresenceStore:
    """The port `PresenceStore` in this process's memory.

    The listener is told before `track` and `untrack` return, except when they are called from
    within the listener: that diff waits its turn, so everybody sees one order.
    """

    def __init__(self) -> None:
        self._topics: dict[str, PresenceState] = {}
        self._on_diff: DiffListener | None = None
        self._waiting: deque[tuple[str, PresenceDiff]] = deque()
        self._telling = False

    def listen(self, on_diff: DiffListener) -> None:
        """See `PresenceStore.listen`. A second call takes the place of the first."""
        self._on_diff = on_diff

    def state(self, topic: str) -> dict[str, tuple[PresenceMeta, ...]]:
        """See `PresenceStore.state`. Empty for a topic with nobody on it."""
        state = self._topics.get(topic)
        return {} if state is None else state.metas()

    def track(self, topic: str, key: str, meta: PresenceMeta) -> None:
        """See `PresenceStore.track`."""
        state = self._topics.get(topic)
        if state is None:
            state = self._topics[topic] = PresenceState()
        self._tell(topic, state.track(key, meta))

    def untrack(self, topic: str, key: str, ref: str) -> None:
        """See `PresenceStore.untrack`."""
        state = self._topics.get(topic)
        diff = None if state is None else state.untrack(key, ref)
        if diff is None:
            return
        if not state:
            del self._topics[topic]
        self._tell(topic, diff)

    def _tell(self, topic: str, diff: PresenceDiff) -> None:
        if self._on_diff is None:
            return
        self._waiting.append((topic, diff))
        if self._telling:
            return
        self._telling = True
        try:
            while self._waiting:
                self._on_diff(*self._waiting.popleft())
        finally:
            self._telling = False
