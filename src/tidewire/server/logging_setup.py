"""How the process logs: readable lines for people, one JSON object a line for machines.

Loggers give constant text and fields (``extra``); both forms show the fields. Tokens and row
data are never given to a logger, so nothing here has to hide them.
"""

from __future__ import annotations

import datetime
import logging
import sys
from contextvars import ContextVar
from typing import IO, Any

import msgspec

from tidewire.server.settings import LogSettings

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_UNSHOWN = frozenset({"color_message"})  # uvicorn's own second form of its message
_COLOURS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


tenant_in_logs: ContextVar[str] = ContextVar("tenant_in_logs", default="")
"""Name of the tenant that the present task works for; "" where there is only one."""


def set_up_logging(settings: LogSettings, stream: IO[str] | None = None) -> None:
    """Send all logging to `stream` (standard error when None), in the form the settings name.

    A repeated call replaces what the former one set.
    """
    out = stream if stream is not None else sys.stderr
    on_terminal = out.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not on_terminal)
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(colour=on_terminal))
    root = logging.getLogger()
    handler.addFilter(_add_tenant)
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.captureWarnings(capture=True)
    # These tell each request and each connection at "info", which is "debug" by our rules.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "websockets"):
        quiet = logging.getLogger(name)
        quiet.handlers.clear()
        quiet.propagate = True
        quiet.setLevel(logging.NOTSET if settings.level == "debug" else logging.WARNING)


def _add_tenant(record: logging.LogRecord) -> bool:
    """Say whose a line is, unless it does so itself; always lets it pass."""
    name = tenant_in_logs.get()
    if name and not hasattr(record, "tenant"):
        record.tenant = name
    return True


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``logger``, ``message``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": _timestamp(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """``12:00:01.123 info  tidewire.server  text  field=value``, traceback below."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with its traceback on those that follow."""
        time = f"{_timestamp(record).astimezone():%H:%M:%S}.{int(record.msecs):03d}"
        level = self._paint(f"{record.levelname.lower():7}", _COLOURS.get(record.levelname, "0"))
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{self._paint(time, '2')} {level} {record.getMessage()}"
        if fields:
            line += "  " + self._paint(fields, "2")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def _timestamp(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    hidden = _STANDARD | _UNSHOWN
    return {name: value for name, value in record.__dict__.items() if name not in hidden}
