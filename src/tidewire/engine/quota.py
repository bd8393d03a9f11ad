"""What one tenant may send altogether, for those who send without a socket.

The broadcast routes ask before they publish; broadcasts over sockets are counted here too, so one
limit holds for both. See `engine.throttle` for what a socket's sender meets.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tidewire.core.clock import Clock
from tidewire.core.rate_limit import RollingAverage

WINDOW_S, STEP_S = 10.0, 1.0
"""Over how long the average is taken. The original's window is up to 60 s (wire specification 8):
after a burst it refuses for a minute what has long been bearable again."""

EXCEEDED = "You have exceeded your rate limit"
BATCH_TOO_LARGE = "Too many messages to broadcast, please reduce the batch size"


class QuotaAnswer(msgspec.Struct, frozen=True):
    """Whether messages may be sent.

    Attributes:
        refusal: "" when they may; else the text for a 429 (wire specification 4.7).
        headers: For the response, whichever it is; empty when there is no limit.
    """

    refusal: str
    headers: dict[str, str]


class MessageQuota:
    """Broadcasts a second of one tenant, by all ways together.

    Use: ``answer = node.quota.ask(len(messages))``; on ``answer.refusal`` answer 429
    ``{"message": answer.refusal}``, else publish; put ``answer.headers`` on the response. `ask`
    counts what it allows; broadcasts over sockets come in through `count`.
    """

    __slots__ = ("_asked", "_average", "_clock", "_count_sent", "_per_s")

    def __init__(self, messages_per_s: float, clock: Clock, count_sent: Callable[[], int]) -> None:
        """Begin.

        Args:
            messages_per_s: The limit; 0 for none.
            clock: For the average.
            count_sent: How many broadcasts came over sockets since the start.
        """
        self._per_s = messages_per_s
        self._clock = clock
        self._count_sent = count_sent
        self._asked = 0
        self._average = RollingAverage(WINDOW_S, step_s=STEP_S)
        self.note()

    def note(self) -> None:
        """Take a sample; to be called at least once a second."""
        self._average.note(self._clock.monotonic_s(), self._count)

    def ask(self, messages: int) -> QuotaAnswer:
        """Whether so many messages may be sent now; counts them when they may.

        Refused are messages while the average is above the limit, and a batch that would lift it
        there. A batch counts whole against the limit of one second (wire specification 4.7).
        """
        if self._per_s <= 0:
            self._asked += messages
            return QuotaAnswer("", {})
        before = self._average.per_s(self._clock.monotonic_s(), self._count)
        refusal = ""
        if before > self._per_s:
            refusal = EXCEEDED
        elif before + messages > self._per_s:
            refusal = BATCH_TOO_LARGE
        else:
            self._asked += messages
        after = self._average.per_s(self._clock.monotonic_s(), self._count)
        return QuotaAnswer(
            refusal,
            {
                "x-rate-rolling": f"{after:.2f}",
                "x-rate-limit": f"{self._per_s:g}",
                "x-rate-limit-remaining": str(max(0, int(self._per_s - after))),
            },
        )

    @property
    def _count(self) -> int:
        return self._asked + self._count_sent()
