"""The few calls to the file system that the journal makes, so that a test can make them fail."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

FOLDER_MODE = 0o700
FILE_MODE = 0o600  # rows of the database are in them

_BUFFERS_MAX = 512  # of one call; IOV_MAX is 1024 nearly everywhere


class FileLayer(Protocol):
    """A folder's files. Every call may block, and raises OSError as the system does."""

    def names(self, folder: Path) -> list[str]:
        """Names of all that is in a folder, which is made if it is not there."""
        ...

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file; one of that name is emptied."""
        ...

    def open(self, path: Path) -> int:
        """A descriptor of a file that is there, to read and write."""
        ...

    def write(self, descriptor: int, chunks: Sequence[bytes], offset: int) -> None:
        """Write all of it there."""
        ...

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Up to `size` bytes from there; fewer at the end of the file."""
        ...

    def size(self, path: Path) -> int:
        """How long a file is."""
        ...

    def sync(self, descriptor: int) -> None:
        """Content and length are on disk when this returns."""
        ...

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Names of files in it are on disk when this returns."""
        ...


class SystemFiles:
    """Implements `FileLayer` by the operating system."""

    def names(self, folder: Path) -> list[str]:
        """See `FileLayer.names`."""
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return os.listdir(folder)

    def create(self, path: Path) -> int:
        """See `FileLayer.create`."""
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:
        """See `FileLayer.open`."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, descriptor: int, chunks: Sequence[bytes], offset: int) -> None:
        """See `FileLayer.write`."""
        for first in range(0, len(chunks), _BUFFERS_MAX):
            some = chunks[first : first + _BUFFERS_MAX]
            data = memoryview(some[0] if len(some) == 1 else b"".join(some))
            while data:
                written = os.pwrite(descriptor, data, offset)
                offset += written
                data = data[written:]

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """See `FileLayer.read`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces: list[bytes] = []
            while size > 0 and (piece := os.pread(descriptor, size, offset)):
                pieces.append(piece)
                size -= len(piece)
                offset += len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            os.close(descriptor)

    def size(self, path: Path) -> int:
        """See `FileLayer.size`."""
        return path.stat().st_size

    def sync(self, descriptor: int) -> None:
        """See `FileLayer.sync`."""
        sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter
        sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """See `FileLayer.truncate`."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """See `FileLayer.close`."""
        os.close(descriptor)

    def remove(self, path: Path) -> None:
        """See `FileLayer.remove`."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """See `FileLayer.sync_folder`."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
