"""The folder that holds what one server must keep: its lock and its secrets.

    .tidewire/             0700 (0710 where root runs an embedded PostgreSQL in it)
      lock                 held while a server serves this folder; holds its pid
      jwt_secret           0600, made once
      database_password    0600, made once
      publishable_key      0600, made once: what stands behind sb_publishable_
      secret_key           0600, made once: what stands behind sb_secret_
      tenants/NAME/        0700: the same and the slot's record, where there are several tenants

Secrets are made once and then never changed, so that keys, tokens and addresses stay valid
across restarts and kills.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import stat
import time
import types
from pathlib import Path

from tidewire.core.errors import SetupError

DEFAULT_FOLDER = Path(".tidewire")
SECRET_BYTES = 32
TENANTS_FOLDER = "tenants"

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_TOO_OPEN = 0o067  # more than passage for the group, which the embedded PostgreSQL may need
_EMPTY_ENOUGH = frozenset({"lost+found"})
_LOCK_BYTES_MAX = 32
_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.01

logger = logging.getLogger(__name__)


class DataFolder:
    """One data folder, held by this process until `close`.

    Use as a context manager, or call `close`.
    """

    def __init__(self, path: Path, lock: int | None) -> None:
        """Use `open`."""
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path = DEFAULT_FOLDER) -> DataFolder:
        """Make the folder if need be, and hold it for this process alone.

        The lock ends with the process, however that ends.

        Raises:
            SetupError: Another server holds it, or it cannot be made or written to.
        """
        whole = path.expanduser().absolute()
        try:
            _prepare_folder(whole)
            lock = os.open(whole / "lock", os.O_RDWR | os.O_CREAT, _FILE_MODE)
        except OSError as error:
            raise _unusable(whole, error) from error
        try:
            _take_lock(lock, whole)
        except BaseException:
            os.close(lock)
            raise
        return cls(whole, lock)

    def close(self) -> None:
        """Let the folder go. A second call does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    def within(self, *names: str) -> DataFolder:
        """A folder below this one, with secrets of its own; made when absent, private.

        This one's lock guards it.

        Raises:
            SetupError: It cannot be made.
        """
        path = self.path.joinpath(*names)
        try:
            path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            for made in (path, *path.parents):
                if made == self.path:
                    break
                made.chmod(_FOLDER_MODE)
        except OSError as error:
            raise _unusable(path, error) from error
        return DataFolder(path, None)

    @property
    def jwt_secret(self) -> str:
        """Signs the keys and tokens of this server."""
        return self.secret("jwt_secret")

    @property
    def database_password(self) -> str:
        """Of the embedded database's superuser."""
        return self.secret("database_password")

    def secret(self, name: str) -> str:
        """A random text of 256 bits, made at the first call for this folder and `name`.

        Raises:
            SetupError: Its file cannot be read or written, or is empty.
        """
        file = self.path / name
        try:
            if not file.exists():
                write_whole(file, secrets.token_urlsafe(SECRET_BYTES).encode())
            text = file.read_text().strip()
        except OSError as error:
            raise _unusable(file, error) from error
        if not text:
            raise SetupError(
                f"{file} is empty",
                "Put the secret back from a backup, or remove the file to have a new one made; "
                "then keys and tokens given out so far are void.",
            )
        return text


def write_whole(path: Path, content: bytes, *, mode: int = _FILE_MODE) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    On disk before this returns.

    Raises:
        OSError: It cannot be written; the old one is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def holder_of(path: Path) -> int | None:
    """The pid of the server that serves a data folder; None when none does."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(lock)
    else:
        return None
    finally:
        os.close(lock)


def _prepare_folder(folder: Path) -> None:
    """Make it private if it is ours; somebody's folder with other things in it stays as it is."""
    is_new = not folder.exists()
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not is_new and not mode & _TOO_OPEN:
        return
    names = {entry.name for entry in folder.iterdir()}
    if "lock" in names or names <= _EMPTY_ENOUGH:
        folder.chmod(_FOLDER_MODE)
    else:
        logger.warning(
            "the data folder holds other things and others may look into it",
            extra={"folder": str(folder), "mode": f"{mode:o}"},
        )


def _take_lock(lock: int, folder: Path) -> None:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)  # `holder_of` holds it for a moment
        except OSError as error:
            raise _unusable(folder / "lock", error) from error
        else:
            break
    else:
        pid = _pid_in(lock)
        who = f"pid {pid}" if pid is not None else "pid unknown"
        raise SetupError(
            f"another Tidewire ({who}) serves {folder}",
            "Stop it first, or choose another folder with --data-dir.",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _pid_in(lock: int) -> int | None:
    text = os.pread(lock, _LOCK_BYTES_MAX, 0).strip()
    return int(text) if text.isdigit() else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"cannot use {path}: {error.strerror or error}",
        "Choose a folder that you own, on a disk with room, with --data-dir.",
    )
