"""The folders and files of one embedded server.

folder/                ours: 0700, or 0710 for the server's group where root runs us
  data/                the cluster, owned by the server's account
  socket/              its unix socket, 0700; a short folder in /tmp where the path is too long
  server.log           its log, cut when it grows
  start.lock           held while a start is under way
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from tidewire.adapters.postgres.embedded.privileges import Launch
from tidewire.core.errors import SetupError

# `sun_path` has 108 bytes on Linux and 104 elsewhere, with a final NUL.
SOCKET_PATH_BYTES_MAX = 103
LOG_BYTES_MAX = 8 * 1024 * 1024
LOG_KEPT_BYTES = 1024 * 1024

_LONGEST_SOCKET_NAME = ".s.PGSQL.65535.lock"
_FIRST_PORT = 15_432
_PORT_SPAN = 9_000
_PORT_TRIES = 200


def make_folder(folder: Path) -> None:
    """Make a folder of mode 0700, with its parents.

    Raises:
        SetupError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot make the folder {folder}: {error.strerror}",
            "Choose a folder on a disk with room that you may write to, with --data-dir.",
        ) from error


def socket_folder_for(folder: Path, launch: Launch) -> Path:
    """Make the folder of the unix socket, reachable by the server and its owner alone.

    Raises:
        SetupError: A folder of that name exists and is not ours.
    """
    chosen = folder / "socket"
    if len(os.fsencode(chosen / _LONGEST_SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX:
        chosen = _short_folder(folder)
    chosen.mkdir(mode=0o700, exist_ok=True)
    if chosen.parent != folder:
        _refuse_strangers_folder(chosen, launch)
    chosen.chmod(0o700)
    launch.own_tree(chosen)
    return chosen


def _refuse_strangers_folder(chosen: Path, launch: Launch) -> None:
    """Anybody may make folders in /tmp, so the name alone proves nothing."""
    seen = chosen.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in {os.geteuid(), launch.owner_uid}:
        raise SetupError(
            f"{chosen} exists and is not ours", "Remove it, or choose a shorter data folder."
        )


def remove_short_socket_folder(socket_folder: Path, folder: Path) -> None:
    """Leave nothing behind in /tmp once the server has ended."""
    if socket_folder == _short_folder(folder):
        shutil.rmtree(socket_folder, ignore_errors=True)


def cut_log(log: Path) -> None:
    """Keep a log below its bound: the newest part stays.

    The server appends (O_APPEND), so it goes on at the new end. A line written while this
    runs may be lost.
    """
    try:
        size = log.stat().st_size
        if size <= LOG_BYTES_MAX:
            return
        with log.open("r+b") as file:
            file.seek(size - LOG_KEPT_BYTES)
            kept = file.read()
            file.seek(0)
            file.write(kept[kept.find(b"\n") + 1 :])
            file.truncate()
    except OSError:
        return  # a log that cannot be cut is no reason to stop the database


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(folder: Path) -> int:
    """A free port, the same one for the same folder as long as nobody else takes it.

    Below the ports that systems give to outgoing connections, so that it is still free after
    a restart.

    Raises:
        SetupError: None was free.
    """
    start = int.from_bytes(_digest(folder)[:4], "big")
    for offset in range(_PORT_TRIES):
        port = _FIRST_PORT + (start + offset) % _PORT_SPAN
        if is_port_free(port):
            return port
    raise SetupError(
        "no free port for the embedded PostgreSQL", "Give one in the settings, or free some."
    )


def _short_folder(folder: Path) -> Path:
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 40:
        base = Path("/tmp")  # noqa: S108 (owner and mode are checked, see socket_folder_for)
    return base / f"tidewire-{_digest(folder).hex()[:16]}"


def _digest(folder: Path) -> bytes:
    return hashlib.sha256(os.fsencode(folder.resolve())).digest()
