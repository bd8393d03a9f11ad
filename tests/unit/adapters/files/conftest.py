from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.journal import JournalFolder, journal_folder


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[JournalFolder]:
    async with journal_folder(tmp_path / "journal") as folder:
        yield folder
