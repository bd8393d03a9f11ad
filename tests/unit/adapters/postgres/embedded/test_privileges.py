"""Choosing the account, by permission bits alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import pytest

from tidewire.adapters.postgres.embedded import privileges
from tidewire.adapters.postgres.embedded.binaries import Binaries
from tidewire.adapters.postgres.embedded.privileges import (
    Account,
    Launch,
    LaunchKind,
    copy_binaries,
    plan_launch,
)
from tidewire.core.errors import SetupError

BINARIES = Binaries(Path("/programs/bin"), "18.6", 18, "a test")
STRANGER = Account("stranger", 54_321, 54_321)


def _launch(kind: LaunchKind) -> Launch:
    return Launch(kind, BINARIES, STRANGER, STRANGER.uid, STRANGER.gid)


def test_an_ordinary_user_is_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    launch = plan_launch(BINARIES, tmp_path)
    assert launch.kind is LaunchKind.OWN
    assert launch.account.uid == 12_345
    assert launch.spawn_options() == {}


def test_each_way_has_its_command() -> None:
    own = _launch(LaunchKind.OWN).command("initdb", ["-D", "x"])
    assert own == ["/programs/bin/initdb", "-D", "x"]
    inside = _launch(LaunchKind.NAMESPACE).command("postgres", ["-D", "x"])
    assert inside[-5:] == ["54321", "54321", "/programs/bin/postgres", "-D", "x"]
    assert _launch(LaunchKind.ACCOUNT).spawn_options() == {
        "user": 54_321,
        "group": 54_321,
        "extra_groups": [],
    }


def test_nothing_of_our_environment_reaches_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    monkeypatch.setenv("TIDEWIRE_SECRET", "x")
    assert set(_launch(LaunchKind.OWN).environment) == {"PATH", "LC_ALL", "TZ"}


def test_only_folders_given_as_ours_are_counted_as_passable() -> None:
    with tempfile.TemporaryDirectory() as closed:  # mode 0700, in a folder open to all
        inner = Path(closed) / "inner" / "folder"
        inner.mkdir(parents=True)
        assert not privileges._reaches(inner, STRANGER, passable=[inner])
        ours = [inner, Path(closed)]
        assert privileges._reaches(inner, STRANGER, passable=ours)


@pytest.mark.parametrize(("mode", "passes"), [(0o700, False), (0o711, True), (0o755, True)])
def test_others_pass_by_the_last_bit(tmp_path: Path, mode: int, passes: bool) -> None:
    tmp_path.chmod(mode)
    assert privileges._passes(tmp_path, STRANGER) is passes


def test_the_owner_passes_by_his_own_bit_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o011)
    me = Account("me", tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    assert not privileges._passes(tmp_path, me)
    tmp_path.chmod(0o700)
    assert privileges._passes(tmp_path, me)


def test_a_folder_of_another_user_is_not_taken_over(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="belongs to"):
        _launch(LaunchKind.OWN).own_tree(tmp_path)


def test_a_copy_is_readable_whole_and_made_once(tmp_path: Path) -> None:
    install = tmp_path / "site" / "package" / "pginstall"
    (install / "bin").mkdir(parents=True)
    (install / "include").mkdir()
    (tmp_path / "site" / "package.libs").mkdir()
    (tmp_path / "site" / "package.libs" / "libpq.so").write_text("library")
    (install / "bin" / "postgres").write_text("program")
    (install / "bin" / "postgres").chmod(0o700)
    (install / "share").mkdir(mode=0o700)
    (install / "share" / "postgres.bki").write_text("text")
    (install / "share" / "postgres.bki").chmod(0o600)
    source = msgspec.structs.replace(BINARIES, folder=install / "bin")
    copy = copy_binaries(source, tmp_path / "data")
    assert (copy.folder / "postgres").stat().st_mode & 0o777 == 0o755
    assert (copy.folder.parent / "share").stat().st_mode & 0o777 == 0o755
    assert (copy.folder.parent / "share" / "postgres.bki").stat().st_mode & 0o777 == 0o644
    assert (copy.folder.parents[2] / "package.libs" / "libpq.so").exists()
    assert not (copy.folder.parent / "include").exists()
    stamp = (copy.folder / "postgres").stat().st_mtime_ns
    assert copy_binaries(source, tmp_path / "data") == copy
    assert (copy.folder / "postgres").stat().st_mtime_ns == stamp
