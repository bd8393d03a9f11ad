"""What is kept for a connection that reads too slowly: little, and enough to be right again.

The rule. Frames are kept in the order they came, and one is left out when a later one makes it
needless. So what is sent in the end is what would have been sent, with some frames missing:

- *changes*: a frame about a row is left out when a later one about the same row, for the same
  entries, tells all that is needed (`RowFrame.supersedes`): of several UPDATEs the last stays, an
  INSERT stays before it, a DELETE stays alone, a DELETE and the INSERT after it both stay. An
  UPDATE that changes the key stays, and nothing before it is left out for what comes after. No
  frame is made up or moved, so order per row holds and the newest state is told last.
- *presence*: none is kept; a fresh state follows.
- *broadcasts*: the newest of each channel; the others are counted.
- *system messages*: all.

Bounds: frames and bytes. Beyond them first the broadcasts go, then the changes, and the client is
told to fetch again. Nothing here knows of sockets or time.
"""

from __future__ import annotations

from collections import deque

import msgspec

from tidewire.engine.channel import Channel
from tidewire.engine.fanout import BROADCAST, FanoutFrame
from tidewire.engine.limits import Limits
from tidewire.engine.row_frame import Place, RowFrame
from tidewire.engine.stats import Stats

PRESENCE_DIFF = "presence_diff"
ROW_FRAMES_MAX = 8
"""Newest frames of a row that are looked at when another comes."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """A frame that waits.

    Attributes:
        channel: Whom it is for.
        frame: It.
        source: The audience that it came from.
        size_bytes: Of its bytes.
    """

    channel: Channel
    frame: FanoutFrame
    source: object
    size_bytes: int


class Owed(msgspec.Struct):
    """What a channel is to be told besides the frames that were kept.

    Attributes:
        presence: Its presence changed: it needs the state.
        broadcasts: So many were dropped.
        changes: Changes were thrown away: it is to fetch again.
    """

    presence: bool = False
    broadcasts: int = 0
    changes: bool = False


class Conflation:
    """What is kept for one connection.

    Attributes:
        size_bytes: Of all frames kept.
        has_given_up: Changes were thrown away and none is kept until all is told.
    """

    __slots__ = (
        "_broadcasts",
        "_held",
        "_lane",
        "_limits",
        "_next",
        "_owed",
        "_rows",
        "_stats",
        "has_given_up",
        "size_bytes",
    )

    def __init__(self, lane: int, limits: Limits, stats: Stats) -> None:
        self._lane = lane
        self._limits = limits
        self._stats = stats
        self._next = 0
        self._held: dict[int, Held] = {}
        self._rows: dict[tuple[Channel, Place], list[int]] = {}
        self._broadcasts: dict[Channel, deque[int]] = {}
        self._owed: dict[Channel, Owed] = {}
        self.has_given_up = False
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, channel: Channel, frame: FanoutFrame, source: object) -> None:
        """Keep a frame that came from `source`, or what is needed of it."""
        if frame.event == PRESENCE_DIFF:
            self._owe(channel).presence = True
        elif isinstance(frame, RowFrame):
            if self.has_given_up:
                self._owe(channel).changes = True
            else:
                self._hold_change(channel, frame, source)
        elif frame.event == BROADCAST:
            self._hold_broadcast(channel, frame, source)
        else:
            self._append(channel, frame, source)
        if self._is_full:
            self._make_room()

    def forget(self, channel: Channel, source: object) -> None:
        """Throw away what came from `source` for `channel`, which may have it no longer."""
        for number, held in list(self._held.items()):
            if held.channel is channel and held.source is source:
                self._forget(number)

    def take(self, bytes_max: int) -> bytes:
        """Take frames out, the oldest first: as many as fit, one at least; b"" for no more.

        Those of channels that are gone are left out.
        """
        parts: list[bytes] = []
        size = 0
        for number, held in list(self._held.items()):
            if size and size + held.size_bytes > bytes_max:
                break
            self._forget(number)
            if held.channel.is_open:
                parts.append(held.frame.for_lane(self._lane))
                size += held.size_bytes
        if not self._held:
            self._rows.clear()
            self._broadcasts.clear()
        return b"".join(parts)

    def take_owed(self) -> dict[Channel, Owed]:
        """What channels must be told now that all frames are taken; then all is well again."""
        owed, self._owed = self._owed, {}
        self.has_given_up = False
        return owed

    def _hold_change(self, channel: Channel, frame: RowFrame, source: object) -> None:
        tag = frame.tag
        number = self._append(channel, frame, source)
        if tag is None:
            return
        row = (channel, tag.place)
        if tag.former is not None:
            self._rows.pop((channel, tag.former), None)
            self._rows[row] = [number]
            return
        kept = self._rows.get(row)
        if kept is None:
            self._rows[row] = [number]
            return
        for earlier in kept[-ROW_FRAMES_MAX:]:
            held = self._held.get(earlier)
            if held is None or not isinstance(held.frame, RowFrame):
                kept.remove(earlier)
            elif frame.supersedes(held.frame):
                kept.remove(earlier)
                self._forget(earlier)
                self._stats.changes_conflated_total += 1
        kept.append(number)
        del kept[:-ROW_FRAMES_MAX]

    def _hold_broadcast(self, channel: Channel, frame: FanoutFrame, source: object) -> None:
        numbers = self._broadcasts.setdefault(channel, deque())
        numbers.append(self._append(channel, frame, source))
        while len(numbers) > self._limits.kept_broadcasts_max:
            self._drop_broadcast(channel, numbers.popleft())

    def _drop_broadcast(self, channel: Channel, number: int) -> None:
        if self._forget(number):
            self._owe(channel).broadcasts += 1
            self._stats.broadcasts_dropped_total += 1

    def _append(self, channel: Channel, frame: FanoutFrame, source: object) -> int:
        size = len(frame.for_lane(self._lane))
        self._next += 1
        self._held[self._next] = Held(channel, frame, source, size)
        self.size_bytes += size
        return self._next

    def _forget(self, number: int) -> bool:
        held = self._held.pop(number, None)
        if held is None:
            return False
        self.size_bytes -= held.size_bytes
        return True

    def _owe(self, channel: Channel) -> Owed:
        return self._owed.setdefault(channel, Owed())

    @property
    def _is_full(self) -> bool:
        limits = self._limits
        return (
            self.size_bytes > limits.conflated_bytes_max
            or len(self._held) > limits.conflated_frames_max
        )

    def _make_room(self) -> None:
        for channel, numbers in self._broadcasts.items():
            for number in numbers:
                self._drop_broadcast(channel, number)
        self._broadcasts.clear()
        if self._is_full:
            self._give_up()
        if self._is_full:
            # System messages alone are too many: what they say is told by the resync too.
            for held in self._held.values():
                self._owe(held.channel).changes = True
            self._held.clear()
            self.size_bytes = 0

    def _give_up(self) -> None:
        self.has_given_up = True
        self._stats.slow_resyncs_total += 1
        for number, held in list(self._held.items()):
            if isinstance(held.frame, RowFrame):
                self._forget(number)
                self._owe(held.channel).changes = True
        self._rows.clear()
