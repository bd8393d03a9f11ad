"""Signing keys from a JWKS file, read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from tidewire.adapters.jwt.keys import VerificationKey, read_key_set
from tidewire.core.errors import SetupError

LOOK_S = 1.0
"""How often it is looked whether the file is another."""

FILE_BYTES_MAX = 1 << 20

logger = logging.getLogger(__name__)


class KeyFile:
    """A `KeySource` on a file.

    A file that becomes unreadable or holds no keys is told in the log, and the keys of the last
    good one stay in force: a person mends it. Takes a file exchanged by rename as well as one
    written in place.
    """

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            SetupError: It cannot be read, is no JWKS, or holds a key that can be guessed.
        """
        self.looks = 0
        self.on_change: Callable[[], None] = lambda: None
        self._path = path
        self._seen = _state(path)
        try:
            found = read_key_set(_read(path))
        except OSError as error:
            raise _unusable(path, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise _unusable(path, f"is no JWKS: {error}") from None
        if found.has_weak or not found.keys:
            raise _unusable(path, "; ".join(found.problems) or "holds no key to verify with")
        for problem in found.problems:
            logger.warning("a JWKS file: %s", problem, extra={"file": str(path)})
        self.keys: Sequence[VerificationKey] = found.keys

    async def refresh(self) -> None:
        """Read the file if it changed."""
        state = await asyncio.to_thread(_state, self._path)
        if state != self._seen:
            self._seen = state
            await self._read_again()
        self.looks += 1

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.refresh()

    async def _read_again(self) -> None:
        where = {"file": str(self._path)}
        try:
            found = read_key_set(await asyncio.to_thread(_read, self._path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            logger.error("the JWKS file is no good, its former keys stay: %s", reason, extra=where)  # noqa: TRY400 - a traceback says no more
            return
        for problem in found.problems:
            logger.error("the JWKS file: %s", problem, extra=where)
        if found.keys:
            self.keys = found.keys
            logger.info("read the JWKS file again", extra={**where, "keys": len(found.keys)})
            self.on_change()


def _state(path: Path) -> tuple[int, ...] | None:
    """What differs when the file does; None when it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"it is longer than {FILE_BYTES_MAX} bytes")
    return content


def _unusable(path: Path, reason: str) -> SetupError:
    return SetupError(f"the JWKS file {path} {reason}", "Mend auth.jwks_file, or leave it empty.")
