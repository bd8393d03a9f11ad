"""How a person or a supervisor asks the process to end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager

EXIT_FORCED = 1

STOP_DEADLINE_S = 9.5
"""How long the whole stop may take, from the request on. The promise is 10 s."""

_LEAST_S = 1.0


class StopSignal:
    """The request to end, by SIGTERM or SIGINT.

    The first ends whatever `interruptible` guards and asks for a drain; the second ends the
    process at once, with exit code 1.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._asked_at_s: float | None = None
        self._guarded: asyncio.Task[object] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the end was asked for."""
        return self._asked.is_set()

    def seconds_left(self) -> float:
        """How much of the stop's time is left; all of it before it was asked for."""
        if self._asked_at_s is None:
            return STOP_DEADLINE_S
        return max(_LEAST_S, self._asked_at_s + STOP_DEADLINE_S - time.monotonic())

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._asked.wait()

    def ask(self) -> None:
        """Take one request."""
        if self._asked.is_set():
            # The embedded database outlives us and is adopted by the next start.
            os._exit(EXIT_FORCED)
        self._asked_at_s = time.monotonic()
        self._asked.set()
        if self._guarded is not None:
            self._guarded.cancel()

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """Cancel the task within this block when the end is asked for, also if it was before.

        Guards what must not be waited for, such as a start that takes long.
        """
        self._guarded = task = asyncio.current_task()
        assert task is not None
        if self.is_asked:
            task.cancel()
        try:
            yield
        finally:
            self._guarded = None

    @contextmanager
    def installed(self) -> Generator[None]:
        """Take the process's signals within this block."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
