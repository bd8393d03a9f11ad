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
import subprocess
import time
from pathlib import Path

from tidewire.adapters.postgres.embedded.privileges import Launch

GRACE_S = 0.1
KILL_S = 2.0
POLL_S = 0.01
SEARCH_DEADLINE_S = 2.0

_SEGMENT = re.compile(r"^\S+ \S+ \S+ \S+ (\d+)\s+/SYSV", re.MULTILINE)
_SEARCH = "exec grep -lsE ' {id} +/SYSV' /proc/[0-9]*/maps"


def holders_of(shared_memory_id: int, launch: Launch) -> list[int]:
    """Processes attached to a System V segment. Linux only.

    Root without the capability SYS_PTRACE, as in many containers, may not look into processes
    of others: then the server's own account is asked to.
    """
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []
    seen = [int(entry.name) for entry in entries if _holds(entry / "maps", shared_memory_id)]
    return seen or _holders_seen_by_account(shared_memory_id, launch)


def _holders_seen_by_account(shared_memory_id: int, launch: Launch) -> list[int]:
    try:
        answer = subprocess.run(  # noqa: S603 (a fixed command and a number)
            ["/bin/sh", "-c", _SEARCH.format(id=shared_memory_id)],
            capture_output=True,
            text=True,
            timeout=SEARCH_DEADLINE_S,
            check=False,
            cwd="/",
            env=launch.environment,
            **launch.spawn_options(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [int(path.split("/")[2]) for path in answer.stdout.split()]


def is_held(shared_memory_id: int) -> bool:
    """Whether any process is attached to the segment, even one that may not be looked at."""
    try:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return False
    # Columns: key shmid perms size cpid lpid nattch ...  Source: proc(5).
    rows = (line.split() for line in lines)
    return any(int(row[1]) == shared_memory_id and int(row[6]) > 0 for row in rows)


async def end_orphans(shared_memory_id: int, launch: Launch) -> int:
    """Make sure that nobody holds the segment of a postmaster that has ended.

    Those that do not go by themselves are told to quit, then killed: the next start replays
    the log as after any crash.

    Returns:
        How many had to be signalled.
    """
    signalled: set[int] = set()
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < KILL_S:
        if not is_held(shared_memory_id):
            break
        if waited >= GRACE_S:
            number = signal.SIGQUIT if waited < 2 * GRACE_S else signal.SIGKILL
            signalled |= await asyncio.to_thread(_signal_all, shared_memory_id, launch, number)
        await asyncio.sleep(POLL_S)
    return len(signalled)


def _signal_all(shared_memory_id: int, launch: Launch, number: signal.Signals) -> set[int]:
    """Signal every holder, each held by a descriptor before it is asked for a second time."""
    descriptors: dict[int, int] = {}
    try:
        for pid in holders_of(shared_memory_id, launch):
            with contextlib.suppress(OSError):
                descriptors[pid] = os.pidfd_open(pid)
        sure = set(holders_of(shared_memory_id, launch)) & descriptors.keys()
        for pid in sure:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptors[pid], number)
        return sure
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _holds(maps: Path, shared_memory_id: int) -> bool:
    try:
        text = maps.read_text(errors="replace")
    except OSError:
        return False
    return any(int(match[1]) == shared_memory_id for match in _SEGMENT.finditer(text))
