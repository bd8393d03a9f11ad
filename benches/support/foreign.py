"""How much of the machine other programs use meanwhile."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable

import psutil

WORTH_SAYING_CORES = 0.15


class ForeignLoad:
    """Cores kept busy by programs that are no part of the bench, between start and stop.

    What it counts as ours: this process, its ended children, and the living processes that
    `own_processes` names.
    """

    def __init__(self, own_processes: Callable[[], Iterable[int]]) -> None:
        self._own_processes = own_processes
        self._started = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin a measurement."""
        self._started = (time.monotonic(), _busy_s(), self._own_s())

    def stop(self) -> float:
        """Cores used by others since `start`."""
        began, busy, own = self._started
        elapsed = time.monotonic() - began
        return max(0.0, (_busy_s() - busy) - (self._own_s() - own)) / elapsed

    def _own_s(self) -> float:
        total = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        for process_id in self._own_processes():
            try:
                times = psutil.Process(process_id).cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total


def _busy_s() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
