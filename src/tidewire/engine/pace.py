"""How long a fan-out gathers frames before it writes them.

Normally not at all: a frame is written at the end of the loop's turn in which it came. When many
small flushes follow each other closely, most of the work is system calls that carry one frame
each; gathering for `WINDOW_S` lets one call carry many. Whether it pays shows in the frames per
flush: where it does not (a sender that waits for its own message), it ends within a bin and is
not tried again for a while.
"""

from __future__ import annotations

BIN_S = 0.01
WINDOW_S = 0.002
FLUSHES_MIN, WRITES_MIN = 8, 400
"""Flushes and writes within a bin from which on gathering is tried."""

FRAMES_PER_FLUSH_MIN = 2.0
"""What gathering must bring to go on."""

PAUSE_S = 1.0
"""How long it is not tried again after it brought too little."""


class Pace:
    """Watches flushes in bins of time and says how long to gather before the next.

    Attributes:
        window_s: Seconds to gather; 0 writes at the end of the turn.
    """

    __slots__ = ("_bin_start_s", "_flushes", "_frames", "_not_before_s", "_writes", "window_s")

    def __init__(self) -> None:
        self.window_s = 0.0
        self._bin_start_s = 0.0
        self._not_before_s = 0.0
        self._flushes = self._frames = self._writes = 0

    def note(self, now_s: float, *, flushes: int, frames: int, writes: int) -> None:
        """Count what one turn did.

        Args:
            now_s: The loop's time.
            flushes: Audiences flushed.
            frames: Frames that they had gathered.
            writes: Members written to.
        """
        if now_s - self._bin_start_s >= BIN_S:
            self._judge(now_s)
            self._bin_start_s = now_s
            self._flushes = self._frames = self._writes = 0
        self._flushes += flushes
        self._frames += frames
        self._writes += writes

    def _judge(self, now_s: float) -> None:
        # A bin that was begun long ago says nothing of the present: it is calm now.
        is_busy = now_s - self._bin_start_s < 2 * BIN_S
        if self.window_s:
            pays = self._frames >= FRAMES_PER_FLUSH_MIN * self._flushes
            if not is_busy or not pays:
                self.window_s = 0.0
                self._not_before_s = now_s + PAUSE_S if is_busy else 0.0
        elif is_busy and self._flushes >= FLUSHES_MIN and self._writes >= WRITES_MIN:
            self.window_s = WINDOW_S if now_s >= self._not_before_s else 0.0
