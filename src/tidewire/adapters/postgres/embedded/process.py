"""One running postmaster: proof that it is ours, its end, and signals that cannot hit another.

On Linux a process is held by a file descriptor (pidfd), so that its number may be reused
without harm and its end is noticed at once. Elsewhere its number is asked twenty times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

POLL_S = 0.05
PS_DEADLINE_S = 5.0


class ServerProcess:
    """A handle on one postmaster, started by this process or by an earlier one."""

    def __init__(self, pid: int, *, child: subprocess.Popen[bytes] | None = None) -> None:
        """Take hold of `pid`.

        Raises:
            ProcessLookupError: There is no such process.
        """
        self.pid = pid
        self._child = child
        self._descriptor: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(PermissionError, OSError):
                self._descriptor = os.pidfd_open(pid)
        if self._descriptor is None:
            os.kill(pid, 0)

    def close(self) -> None:
        """Let go; the process lives on."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        if self._child is not None and self._child.poll() is None:
            # An unwaited child is no fault here: the server outlives its starter by design.
            self._child.returncode = 0
        self._child = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet. Never waits; collects an ended child."""
        if self._child is not None:
            return self._child.poll() is None
        if self._descriptor is not None:
            return not select.select([self._descriptor], [], [], 0)[0]
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """Send `number` to this very process; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            elif self.is_running:
                os.kill(self.pid, number)

    async def wait(self, *, timeout_s: float | None = None) -> bool:
        """Wait for its end.

        Args:
            timeout_s: How long; for ever when None.

        Returns:
            Whether it has ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if self._descriptor is not None:
                    await _readable(self._descriptor)
                while self.is_running:  # noqa: ASYNC110 - runs only where there is no pidfd
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return not self.is_running
        return True


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not ended.done():
            ended.set_result(None)

    # A copy, so that two waiters of one process do not replace each other's callback.
    own = os.dup(descriptor)
    loop.add_reader(own, note)
    try:
        await ended
    finally:
        loop.remove_reader(own)
        os.close(own)


def is_postmaster_of(pid: int, data_folder: Path) -> bool:
    """Whether `pid` runs PostgreSQL on `data_folder`: by its working folder or its command line.

    A process that may not be looked at is none of ours.
    """
    words = _command_words(pid)
    if not words or not Path(words[0]).name.startswith("postgres") or "-D" not in words[:-1]:
        return False
    folders = (Path(f"/proc/{pid}/cwd"), Path(words[words.index("-D") + 1]))
    for folder in folders:
        with contextlib.suppress(OSError):
            if folder.samefile(data_folder):
                return True
    return False


def _command_words(pid: int) -> list[str]:
    own = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return own.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            return []
    return _command_words_by_ps(pid)


def _command_words_by_ps(pid: int) -> list[str]:
    """Where there is no /proc. A folder's name with spaces is put together again."""
    try:
        answer = subprocess.run(  # noqa: S603 (a fixed program and a number)
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=PS_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    program, flag, folder = answer.stdout.strip().partition(" -D ")
    return [program, flag.strip(), folder] if flag else []
