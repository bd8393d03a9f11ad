import io
import json
import logging
from collections.abc import Iterator

import pytest

from tidewire.server.logging_setup import set_up_logging
from tidewire.server.settings import LogSettings


@pytest.fixture(autouse=True)
def _own_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_off_a_terminal_each_line_is_one_json_object_with_its_fields() -> None:
    out = io.StringIO()
    set_up_logging(LogSettings(), out)
    logging.getLogger("tidewire.x").info("slot lag", extra={"slot": "s", "lag_bytes": 12})
    line = json.loads(out.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "tidewire.x",
        "message": "slot lag",
        "slot": "s",
        "lag_bytes": 12,
    }


def test_on_a_terminal_a_line_is_readable_and_shows_its_fields() -> None:
    out = Terminal()
    set_up_logging(LogSettings(), out)
    logging.getLogger("tidewire.x").warning("slot lag", extra={"lag_bytes": 12})
    assert "slot lag" in out.getvalue()
    assert "lag_bytes=12" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_the_format_of_the_settings_wins_over_the_terminal() -> None:
    out = Terminal()
    set_up_logging(LogSettings(format="json"), out)
    logging.getLogger("tidewire.x").info("hello")
    assert json.loads(out.getvalue())["message"] == "hello"


def test_a_traceback_stays_within_its_json_line() -> None:
    out = io.StringIO()
    set_up_logging(LogSettings(), out)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("tidewire.x").exception("failed")
    (text,) = out.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(text)["traceback"]


def test_lines_below_the_level_are_not_shown() -> None:
    out = io.StringIO()
    set_up_logging(LogSettings(level="warning"), out)
    logging.getLogger("tidewire.x").info("quiet")
    assert out.getvalue() == ""


def test_a_field_that_json_does_not_know_is_shown_as_text() -> None:
    out = io.StringIO()
    set_up_logging(LogSettings(), out)
    logging.getLogger("tidewire.x").info("odd", extra={"what": {1, 2}, "why": ValueError("no")})
    assert json.loads(out.getvalue())["why"] == "no"


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(LogSettings(), first)
    set_up_logging(LogSettings(), second)
    logging.getLogger("tidewire.x").info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
