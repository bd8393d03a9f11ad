from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.journal import JournalFolder


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[JournalFolder]:
    folder = JournalFolder(tmp_path / "journal")
    yield folder
    folder.files.failing.clear()
    folder.files.gate.set()
    for journal in folder.opened:
        await journal.close()
