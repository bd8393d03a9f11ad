from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.server import journal_report
from tidewire.server.journal_report import look_at_journal
from tidewire.server.journal_settings import JournalSettings

SETTINGS = JournalSettings(disk_bytes_max=16 << 20)


def fill(data_folder: Path) -> None:
    folder = data_folder / "journal"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number:08d}.segment").write_bytes(b"x" * 1000)
    (folder / "lock").write_text("")


def with_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    class Usage:
        pass

    usage = Usage()
    usage.free = free  # pyright: ignore[reportAttributeAccessIssue] - a stand-in for a named tuple
    monkeypatch.setattr(journal_report.shutil, "disk_usage", lambda _: usage)


def test_what_is_there_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    with_room(monkeypatch, 1 << 40)
    report, findings = look_at_journal(SETTINGS, tmp_path)
    assert findings == []
    assert report is not None
    assert (report.segments, report.bytes, report.free_bytes) == (2, 2000, 1 << 40)


def test_a_disk_that_is_too_small_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    with_room(monkeypatch, 4 << 20)
    _, findings = look_at_journal(SETTINGS, tmp_path)
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("journal_room", "warning")
    ]
    assert "12 MiB more than there is room for" in findings[0].problem


def test_no_folder_and_no_files_are_nothing_to_tell_of(tmp_path: Path) -> None:
    assert look_at_journal(SETTINGS, tmp_path) == (None, [])
    fill(tmp_path)
    assert look_at_journal(JournalSettings(store="memory"), tmp_path) == (None, [])
