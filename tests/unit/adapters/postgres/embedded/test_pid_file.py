"""What a server's pid file says, whole, half written or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.postgres.embedded.pid_file import PidFile, parse_pid_file, read_pid_file

WHOLE = "4711\n/data\n1790000000\n20923\n/run/sock\n127.0.0.1\n  52301057    294912\nready   \n"


def test_every_line_is_read() -> None:
    assert parse_pid_file(WHOLE) == PidFile(4711, 20923, "/run/sock", 294912, is_ready=True)


def test_a_server_on_its_way_is_not_ready() -> None:
    seen = parse_pid_file(WHOLE.replace("ready   ", "starting"))
    assert seen is not None
    assert not seen.is_ready


@pytest.mark.parametrize("lines", range(1, 8))
def test_half_a_file_tells_half(lines: int) -> None:
    seen = parse_pid_file("\n".join(WHOLE.split("\n")[:lines]))
    assert seen is not None
    assert seen.pid == 4711
    assert not seen.is_ready


@pytest.mark.parametrize("text", ["", "\n", "x\n", "0\n"])
def test_no_pid_is_no_file(text: str) -> None:
    assert parse_pid_file(text) is None


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    parse_pid_file(text)


def test_an_absent_file_is_none(tmp_path: Path) -> None:
    assert read_pid_file(tmp_path) is None
