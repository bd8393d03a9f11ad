"""What a server writes about itself into its data folder.

Source: PostgreSQL's `src/include/utils/pidfile.h`, the lines of `postmaster.pid`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

NAME = "postmaster.pid"


class PidFile(msgspec.Struct, frozen=True):
    """The content of `postmaster.pid`.

    Attributes:
        pid: The postmaster's.
        port: Its TCP port; 0 before that line is written.
        socket_folder: Where its unix socket lies; "" for none.
        shared_memory_id: Of the segment that each of its processes holds; None when unknown.
        is_ready: Whether it takes connections.
    """

    pid: int
    port: int = 0
    socket_folder: str = ""
    shared_memory_id: int | None = None
    is_ready: bool = False


def parse_pid_file(text: str) -> PidFile | None:
    """Read the file's text; None when it is empty, half written or no such file."""
    lines = [line.strip() for line in text.split("\n")]
    lines += [""] * (8 - len(lines))
    try:
        pid = abs(int(lines[0]))  # negative in a server of single-user mode
        port = int(lines[3] or 0)
    except ValueError:
        return None
    if pid == 0:
        return None
    shared_memory_id: int | None = None
    with contextlib.suppress(ValueError, IndexError):
        shared_memory_id = int(lines[6].split()[1])
    return PidFile(pid, port, lines[4], shared_memory_id, lines[7] == "ready")


def read_pid_file(data_folder: Path) -> PidFile | None:
    """Read a data folder's `postmaster.pid`; None when there is none that can be read."""
    try:
        text = (data_folder / NAME).read_text(errors="replace")
    except OSError:
        return None
    return parse_pid_file(text)
