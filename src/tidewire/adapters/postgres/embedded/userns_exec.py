"""Run a program as an account without rights, inside a user namespace of its own.

Started as a program by privileges.py, never imported: it must be the only thread of its
process. Usage: ``userns_exec.py UID GID PROGRAM ARGUMENT...``.

PostgreSQL refuses to run as root. Where the files it needs can be reached by root alone (an
environment below a home of mode 0700), no other account can run it either. In a user
namespace that shows root under the number UID, the server's checks see UID, the files on disk
stay root's, and at exec every capability is gone. Needs no program of the system and no
Python newer than 3.11, whose `os` has no `unshare`.

Source: user_namespaces(7), "User and group ID mappings: uid_map and gid_map".
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x1000_0000
CANNOT_START = 126


def main(arguments: list[str]) -> int:
    """Enter the namespace and become the program; returns only when that failed."""
    uid, gid, *command = arguments
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        sys.stderr.write(f"no user namespace: {os.strerror(number)}\n")
        return CANNOT_START
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{uid} {outer_uid} 1")
    (own / "gid_map").write_text(f"{gid} {outer_gid} 1")
    os.execv(command[0], command)  # noqa: S606 (the program and its arguments come from our own launcher)
    return CANNOT_START


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.stderr.write(f"no user namespace: {error}\n")
        sys.exit(CANNOT_START)
