"""How much may pass in a while: allowances that are used up and come back, as plain arithmetic.

Theory of operation. Each message uses up a stretch of time (at 100 messages a second, 10 ms), and
so does each byte. A `Meter` remembers until when its time is used up; while that lies no further
ahead than the burst, all is within the limit. Beyond it the sender owes time: up to `DEBT_MAX_S`
its messages are still taken and it is to wait that long, beyond that they are refused. So a sender
is first slowed, which loses nothing, and refused only when it will not be slowed.

There is no clock here; callers say what time it is. One look costs about 0.2 µs and no memory.
"""

from __future__ import annotations

from collections import deque

import msgspec

DEBT_MAX_S = 1.0
"""Seconds that a sender may owe before what it sends is refused."""

_ROUNDING_S = 1e-6

REFUSED = float("inf")
"""What `Meter.take` says of a message that is not taken."""


class Rates(msgspec.Struct, frozen=True, gc=False):
    """A limit on messages and on bytes, as the time that one of them uses up.

    Attributes:
        message_s: Seconds that one message uses up; 0 for no limit on messages.
        byte_s: Seconds that one byte uses up; 0 for no limit on bytes.
        burst_s: Seconds of the rate that may come at once.
    """

    message_s: float
    byte_s: float
    burst_s: float


def rates(per_s: float, *, bytes_per_s: float = 0.0, burst_s: float) -> Rates | None:
    """The limit of so many messages and bytes a second; None when there is neither.

    Args:
        per_s: Messages a second; 0 for any number.
        bytes_per_s: Bytes a second; 0 for any number.
        burst_s: Seconds of the rate that may come at once; one message always may.
    """
    if per_s <= 0 and bytes_per_s <= 0:
        return None
    message_s = 1 / per_s if per_s > 0 else 0.0
    byte_s = 1 / bytes_per_s if bytes_per_s > 0 else 0.0
    return Rates(message_s, byte_s, max(burst_s, message_s))


class Meter:
    """What one sender has used up of its limit."""

    __slots__ = ("_bytes_until_s", "_messages_until_s", "_rates")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._messages_until_s = 0.0
        self._bytes_until_s = 0.0

    def take(self, now_s: float, size_bytes: int = 0) -> float:
        """Take one message.

        A sender that owes little may send any size: what it owes then is told, not refused.

        Args:
            now_s: Seconds of a monotonic clock.
            size_bytes: Of the message.

        Returns:
            0.0 within the limit; else the seconds for which the sender should be held back; or
            `REFUSED`, and then nothing was taken.
        """
        rates = self._rates
        messages_s, bytes_s = self._messages_until_s, self._bytes_until_s
        if messages_s < now_s:
            messages_s = now_s
        if bytes_s < now_s:
            bytes_s = now_s
        free_s = now_s + rates.burst_s
        refused_s = free_s + DEBT_MAX_S + _ROUNDING_S
        if messages_s > refused_s or bytes_s > refused_s:
            return REFUSED
        self._messages_until_s = messages_s = messages_s + rates.message_s
        self._bytes_until_s = bytes_s = bytes_s + size_bytes * rates.byte_s
        if messages_s <= free_s + _ROUNDING_S and bytes_s <= free_s + _ROUNDING_S:
            return 0.0
        return max(messages_s, bytes_s) - free_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until one message more is within the limit on messages; 0.0 when it is now."""
        until_s = max(self._messages_until_s, now_s) + self._rates.message_s
        wait_s = until_s - now_s - self._rates.burst_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def owes_bytes(self, now_s: float) -> bool:
        """Whether more bytes than messages are owed: which limit to name to the sender."""
        return self._bytes_until_s > max(self._messages_until_s, now_s)


class RollingAverage:
    """The average rate of a count that only grows, over the last `window_s` seconds.

    Attributes:
        window_s: Over how long it is taken.
    """

    __slots__ = ("_samples", "_step_s", "window_s")

    def __init__(self, window_s: float, *, step_s: float) -> None:
        """Begin; the first average is known after the first `note`.

        Args:
            window_s: Over how long the average is taken.
            step_s: Samples closer together than this take each other's place.
        """
        self.window_s = window_s
        self._step_s = step_s
        # (time, count); at most window / step + 2.
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> None:
        """Say how far the count has come; to be called every now and then."""
        samples = self._samples
        if not samples or now_s - samples[-1][0] >= self._step_s:
            samples.append((now_s, count))
        while len(samples) > 1 and samples[1][0] <= now_s - self.window_s:
            samples.popleft()

    def per_s(self, now_s: float, count: int) -> float:
        """The average now: what was added since the oldest sample, by the whole window."""
        self.note(now_s, count)
        return (count - self._samples[0][1]) / self.window_s
