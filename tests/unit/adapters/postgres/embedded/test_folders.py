"""Ports, logs and folders, without a server."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tidewire.adapters.postgres.embedded import folders
from tidewire.adapters.postgres.embedded.binaries import Binaries
from tidewire.adapters.postgres.embedded.privileges import Account, Launch, LaunchKind
from tidewire.core.errors import SetupError

OWN = Launch(
    LaunchKind.OWN,
    Binaries(Path("/nowhere"), "18.0", 18, "nowhere"),
    Account("me", os.geteuid(), os.getegid()),
    os.geteuid(),
    os.getegid(),
)


def test_a_folder_keeps_its_port(tmp_path: Path) -> None:
    assert folders.choose_port(tmp_path) == folders.choose_port(tmp_path)


def test_a_taken_port_is_passed_over(tmp_path: Path) -> None:
    first = folders.choose_port(tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", first))
        holder.listen()
        assert not folders.is_port_free(first)
        assert folders.choose_port(tmp_path) != first


def test_a_port_is_below_those_of_outgoing_connections(tmp_path: Path) -> None:
    for name in map(str, range(20)):
        assert 15_000 < folders.choose_port(tmp_path / name) < 32_768


def test_when_every_port_is_taken_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "is_port_free", lambda _: False)
    with pytest.raises(SetupError, match="no free port"):
        folders.choose_port(tmp_path)


def test_a_short_path_keeps_its_socket_beside_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SOCKET_PATH_BYTES_MAX", 4096)
    assert folders.socket_folder_for(tmp_path, OWN) == tmp_path / "socket"


def test_a_long_path_gets_a_short_folder_and_the_same_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(folders, "SOCKET_PATH_BYTES_MAX", 1)
    chosen = folders.socket_folder_for(tmp_path, OWN)
    assert chosen.parent != tmp_path
    assert folders.socket_folder_for(tmp_path, OWN) == chosen
    folders.remove_short_socket_folder(chosen, tmp_path)
    assert not chosen.exists()


def test_a_strangers_link_in_tmp_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SOCKET_PATH_BYTES_MAX", 1)
    chosen = folders.socket_folder_for(tmp_path, OWN)
    chosen.rmdir()
    (tmp_path / "elsewhere").mkdir()
    chosen.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(SetupError, match="not ours"):
            folders.socket_folder_for(tmp_path, OWN)
    finally:
        chosen.unlink()


def test_a_socket_folder_of_ours_is_not_removed_from_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "socket").mkdir()
    folders.remove_short_socket_folder(tmp_path / "socket", tmp_path)
    assert (tmp_path / "socket").exists()


def test_a_log_below_its_bound_is_not_touched(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("a line\n")
    folders.cut_log(log)
    assert log.read_text() == "a line\n"
    folders.cut_log(tmp_path / "absent")


def test_a_long_log_keeps_whole_newest_lines(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    line = b"x" * 99 + b"\n"
    log.write_bytes(line * (folders.LOG_BYTES_MAX // len(line) + 1) + b"newest\n")
    folders.cut_log(log)
    kept = log.read_bytes()
    assert len(kept) <= folders.LOG_KEPT_BYTES
    assert kept.startswith(line)
    assert kept.endswith(b"newest\n")
