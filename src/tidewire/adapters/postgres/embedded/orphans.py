"""Processes that a killed postmaster left behind.

They hold its shared memory, and no new server starts on the folder while one of them lives.
Idle ones notice the end by themselves within milliseconds; one that computes does not.
They are known by the very segment their postmaster named in its pid file, never by a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from pathlib import Path

GRACE_S = 0.15
KILL_S = 2.0
POLL_S = 0.01

_SEGMENT = re.compile(r"^\S+ \S+ \S+ \S+ (\d+)\s+/SYSV", re.MULTILINE)


def holders_of(shared_memory_id: int) -> list[int]:
    """Processes attached to a System V segment, those that may be looked at. Linux only."""
    with contextlib.suppress(OSError):
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _holds(entry / "maps", shared_memory_id)
        ]
    return []


def is_held(shared_memory_id: int) -> bool:
    """Whether any process is attached to the segment, even one that may not be looked at."""
    try:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return bool(holders_of(shared_memory_id))
    # Columns: key shmid perms size cpid lpid nattch ...  Source: proc(5).
    rows = (line.split() for line in lines)
    return any(int(row[1]) == shared_memory_id and int(row[6]) > 0 for row in rows)


async def end_orphans(shared_memory_id: int) -> int:
    """Make sure that nobody holds the segment of a postmaster that has ended.

    Those that do not go by themselves are told to quit, then killed: the next start replays
    the log as after any crash. Where they may not be looked at (root without the capability
    SYS_PTRACE, as in many containers) they are waited for alone.

    Returns:
        How many had to be signalled.
    """
    signalled: set[int] = set()
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < KILL_S:
        if not is_held(shared_memory_id):
            break
        if waited >= GRACE_S:
            holders = await asyncio.to_thread(holders_of, shared_memory_id)
            number = signal.SIGQUIT if waited < 2 * GRACE_S else signal.SIGKILL
            for pid in holders:
                _signal_holder(pid, shared_memory_id, number)
            signalled.update(holders)
        await asyncio.sleep(POLL_S)
    return len(signalled)


def _signal_holder(pid: int, shared_memory_id: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            # Asked again once its number is held: it cannot have become another process.
            if _holds(Path(f"/proc/{pid}/maps"), shared_memory_id):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _holds(maps: Path, shared_memory_id: int) -> bool:
    try:
        text = maps.read_text(errors="replace")
    except OSError:
        return False
    return any(int(match[1]) == shared_memory_id for match in _SEGMENT.finditer(text))
