import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tidewire.server.ready_file import (
    DemoSignIn,
    ReadyRecord,
    is_running,
    read_record,
    remove_record,
    write_record,
)


def make_record(pid: int = 1, demo_users: list[DemoSignIn] | None = None) -> ReadyRecord:
    return ReadyRecord("u", "a", "s", "j", "d", "b", "v", pid, demo_users)


def test_the_record_has_exactly_the_promised_keys(tmp_path: Path) -> None:
    write_record(make_record(), tmp_path / "ready.json")
    assert sorted(json.loads((tmp_path / "ready.json").read_text())) == [
        "anon_key",
        "dashboard_url",
        "database_url",
        "jwt_secret",
        "pid",
        "service_role_key",
        "url",
        "version",
    ]


def test_demo_users_are_there_for_the_demo_only(tmp_path: Path) -> None:
    write_record(make_record(demo_users=[DemoSignIn("e", "p")]), tmp_path / "ready.json")
    told = json.loads((tmp_path / "ready.json").read_text())
    assert told["demo_users"] == [{"email": "e", "password": "p"}]


def test_only_its_owner_may_read_it_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    write_record(make_record(), tmp_path / "ready.json")
    assert stat.S_IMODE((tmp_path / "ready.json").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["ready.json"]


def test_a_failed_write_leaves_the_former_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ready.json"
    write_record(make_record(pid=1), path)

    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        write_record(make_record(pid=2), path)
    assert read_record(path) == make_record(pid=1)
    assert os.listdir(tmp_path) == ["ready.json"]


def test_a_record_of_another_process_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    write_record(make_record(pid=2), path)
    remove_record(path, pid=1)
    assert path.exists()
    remove_record(path, pid=2)
    assert not path.exists()
    remove_record(path, pid=2)


def test_a_record_that_is_none_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text("{")
    assert read_record(tmp_path / "ready.json") is None
    assert read_record(tmp_path / "absent.json") is None


def test_a_record_is_of_a_running_server_only_while_its_process_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(make_record(pid=process.pid))
    process.communicate(b"\n")
    assert not is_running(make_record(pid=process.pid))
