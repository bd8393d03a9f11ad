"""A file system that fails, hangs or fills up when a test says so."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from tidewire.adapters.files.file_layer import SystemFiles


class FailingFiles(SystemFiles):
    """The real one, until a test turns something on.

    Attributes:
        room: Bytes that may still be written before the disk is full; None for no bound.
        failing: Names of calls that fail with an I/O error.
        gate: Calls to `sync` wait for it.
        calls: Names of all calls so far.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.failing: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[str] = []

    def _come(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def names(self, folder: Path) -> list[str]:
        self._come("names")
        return super().names(folder)

    def create(self, path: Path) -> int:
        self._come("create")
        return super().create(path)

    def open(self, path: Path) -> int:
        self._come("open")
        return super().open(path)

    def write(self, descriptor: int, chunks: Sequence[bytes], offset: int) -> None:
        self._come("write")
        data = b"".join(chunks)
        if self.room is not None and len(data) > self.room:
            super().write(descriptor, [data[: self.room]], offset)
            self.room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.room is not None:
            self.room -= len(data)
        super().write(descriptor, chunks, offset)

    def read(self, path: Path, size: int, offset: int) -> bytes:
        self._come("read")
        return super().read(path, size, offset)

    def sync(self, descriptor: int) -> None:
        self._come("sync")
        self.gate.wait()
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._come("truncate")
        super().truncate(descriptor, size)

    def remove(self, path: Path) -> None:
        self._come("remove")
        super().remove(path)
