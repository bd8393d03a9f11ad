"""The acts on one postmaster: one starter at a time, its start, its end."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tidewire.adapters.postgres.embedded.privileges import Launch
from tidewire.adapters.postgres.embedded.process import ServerProcess
from tidewire.core.errors import SetupError

FAST_STOP_DEADLINE_S = 4.0
IMMEDIATE_STOP_DEADLINE_S = 1.5
START_LOCK_DEADLINE_S = 60.0

_POLL_S = 0.005

logger = logging.getLogger(__name__)


def spawn_postmaster(launch: Launch, data_folder: Path, log_file: Path) -> ServerProcess:
    """Start a postmaster that outlives this process and appends to its log.

    Raises:
        OSError: It could not be run.
    """
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603 (found binaries, no shell)
            launch.command("postgres", ["-D", str(data_folder)]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=launch.environment,
            # Its own session: Ctrl-C in our terminal must not reach it.
            start_new_session=True,
            **launch.spawn_options(),
        )
    finally:
        os.close(log)
    return ServerProcess(child.pid, child=child)


async def end_postmaster(process: ServerProcess) -> None:
    """Shut it down fast, after a deadline immediately, at last by a kill."""
    process.send_signal(signal.SIGINT)
    if await process.wait(timeout_s=FAST_STOP_DEADLINE_S):
        return
    logger.warning("PostgreSQL did not stop in time; stopping it immediately")
    process.send_signal(signal.SIGQUIT)
    if await process.wait(timeout_s=IMMEDIATE_STOP_DEADLINE_S):
        return
    process.send_signal(signal.SIGKILL)
    await process.wait(timeout_s=IMMEDIATE_STOP_DEADLINE_S)


@asynccontextmanager
async def start_lock(folder: Path) -> AsyncGenerator[None]:
    """Hold a folder for one start at a time, whichever process it is in.

    Raises:
        SetupError: Another start held it for too long.
    """
    descriptor = os.open(folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline_s = time.monotonic() + START_LOCK_DEADLINE_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline_s:
                raise SetupError(
                    f"another start is under way on {folder}", "Wait for it, or end it."
                )
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
