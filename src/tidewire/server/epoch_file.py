"""Keeps the slot's record in the data folder, so that a restart continues the same history."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tidewire.adapters.postgres.epoch import SlotRecord
from tidewire.server.data_folder import write_whole


class EpochFile:
    """Implements `adapters.postgres.epoch.EpochStore` by one small file.

    The lock of the data folder guards it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> SlotRecord | None:
        """What was saved last; None when nothing was, or it cannot be read: a new epoch then."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=SlotRecord)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def save(self, record: SlotRecord) -> None:
        """Keep `record`, whole and on disk when this returns."""
        write_whole(self._path, msgspec.json.encode(record))
