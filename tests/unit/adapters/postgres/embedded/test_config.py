"""The text of the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.postgres.embedded.config import port_in, render_settings, server_settings


def _settings(major: int = 18, **extra: str) -> dict[str, str]:
    return server_settings(major=major, port=5, socket_folder=Path("/s"), extra=extra)


@given(st.integers(1, 65535))
def test_the_port_is_read_back(port: int) -> None:
    text = render_settings(server_settings(major=18, port=port, socket_folder=Path("/s"), extra={}))
    assert port_in(text) == port


@pytest.mark.parametrize("text", ["", "port = x", "#port = '1'", "report = '5'"])
def test_no_port_is_none(text: str) -> None:
    assert port_in(text) is None


def test_quotes_and_backslashes_are_doubled() -> None:
    assert "name = 'it''s \\\\ here'" in render_settings({"name": "it's \\ here"})


@pytest.mark.parametrize("value", ["a\nfsync = off", "a\0", "a\r"])
def test_a_value_cannot_bring_a_line_of_its_own(value: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        render_settings({"name": value})


def test_the_stream_gets_what_it_needs() -> None:
    settings = _settings()
    assert settings["wal_level"] == "logical"
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["password_encryption"] == "scram-sha-256"
    assert settings["max_slot_wal_keep_size"] == "1GB"


def test_what_a_version_does_not_know_is_left_out() -> None:
    assert "io_workers" in _settings(18)
    assert "io_workers" not in _settings(17)


def test_the_caller_wins() -> None:
    assert _settings(fsync="off", wal_level="replica")["wal_level"] == "replica"
