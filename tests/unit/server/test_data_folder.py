"""One server to a folder; secrets made once; files whole."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tidewire.core.errors import SetupError
from tidewire.server import data_folder
from tidewire.server.data_folder import DataFolder, holder_of, write_whole


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "a" / "b") as folder:
        assert _mode(folder.path) == 0o700
        assert folder.path.is_absolute()


def test_an_empty_folder_made_by_hand_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "d" / "lost+found").mkdir()
    with DataFolder.open(tmp_path / "d"):
        assert _mode(tmp_path / "d") == 0o700


def test_a_folder_with_other_things_in_it_is_used_and_not_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").write_text("mine")
    with DataFolder.open(tmp_path) as folder:
        assert folder.jwt_secret
    assert _mode(tmp_path) == 0o755


def test_the_passage_for_the_database_stays(tmp_path: Path) -> None:
    DataFolder.open(tmp_path / "d").close()
    (tmp_path / "d").chmod(0o710)
    DataFolder.open(tmp_path / "d").close()
    assert _mode(tmp_path / "d") == 0o710
    (tmp_path / "d").chmod(0o750)
    DataFolder.open(tmp_path / "d").close()
    assert _mode(tmp_path / "d") == 0o700


def test_a_second_server_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with (
        DataFolder.open(tmp_path),
        pytest.raises(SetupError, match=rf"another Tidewire \(pid {os.getpid()}\)") as caught,
    ):
        DataFolder.open(tmp_path)
    assert "--data-dir" in caught.value.advice
    DataFolder.open(tmp_path).close()


def test_the_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tidewire.server.data_folder import DataFolder;"
        " folder = DataFolder.open(Path(sys.argv[1]));"
        " print(folder.jwt_secret, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        secret = other.stdout.readline().strip()
        with pytest.raises(SetupError, match=f"pid {other.pid}"):
            DataFolder.open(tmp_path)
        assert holder_of(tmp_path) == other.pid
        other.kill()
    with DataFolder.open(tmp_path) as folder:
        assert folder.jwt_secret == secret


def test_nobody_holds_an_absent_or_closed_folder(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "absent") is None
    DataFolder.open(tmp_path).close()
    assert holder_of(tmp_path) is None


def test_asking_who_holds_it_harms_nobody(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    for _ in range(20):
        assert holder_of(tmp_path) is None
        DataFolder.open(tmp_path).close()


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    folder.close()
    folder.close()


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        secrets = (folder.jwt_secret, folder.database_password)
        assert secrets == (folder.jwt_secret, folder.database_password)
    assert len(set(secrets)) == 2
    assert all(len(secret) >= 40 for secret in secrets)
    for name in ("jwt_secret", "database_password", "lock"):
        assert _mode(tmp_path / name) == 0o600
    with DataFolder.open(tmp_path) as folder:
        assert secrets == (folder.jwt_secret, folder.database_password)


def test_an_empty_secret_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "jwt_secret").write_text("\n")
    with DataFolder.open(tmp_path) as folder, pytest.raises(SetupError, match="is empty"):
        _ = folder.jwt_secret
    assert (tmp_path / "jwt_secret").read_text() == "\n"


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(SetupError, match="cannot use"):
            DataFolder.open(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "f", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_is_told_when_a_secret_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with DataFolder.open(tmp_path) as folder:
        monkeypatch.setattr(data_folder, "write_whole", fail)
        with pytest.raises(SetupError, match="No space left"):
            _ = folder.jwt_secret


def test_a_written_file_has_the_mode_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_whole(tmp_path / "private", b"x")
        write_whole(tmp_path / "open", b"x", mode=0o644)
    finally:
        os.umask(old)
    assert (_mode(tmp_path / "private"), _mode(tmp_path / "open")) == (0o600, 0o644)
