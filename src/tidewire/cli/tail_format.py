"""How `tidewire tail` writes a change: for programs, and for people."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import IO, Any

import msgspec
from rich.console import Console
from rich.text import Text

from tidewire.client.changes import Change

Write = Callable[[Change], None]

_encode = msgspec.json.Encoder(decimal_format="number").encode
_SIGNS = {"INSERT": ("+", "green"), "UPDATE": ("~", "blue"), "DELETE": ("-", "red")}
_NAMING = ("name", "title", "id")
# Told only when nothing else changed: nearly every update touches them.
_BOOKKEEPING = frozenset({"updated_at", "updated_by", "modified_at", "modified_by"})
_VALUE_MAX = 48
# Beyond what JSON escapes: C1 controls and direction marks, which could repaint a terminal.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def json_writer(out: IO[str]) -> Write:
    """One object a line: type, schema, table, new, old, commit_timestamp, position."""

    def write(change: Change) -> None:
        line = {
            "type": change.type,
            "schema": change.schema,
            "table": change.table,
            "new": change.new,
            "old": change.old,
            "commit_timestamp": change.commit_timestamp,
            "position": change.position,
        }
        out.write(_encode(line).decode() + "\n")
        out.flush()

    return write


def pretty_writer(out: IO[str]) -> Write:
    """A line per change, coloured on a terminal."""
    console = Console(file=out, highlight=False, soft_wrap=True)

    def write(change: Change) -> None:
        console.print(pretty_line(change))
        out.flush()

    return write


def pretty_line(change: Change) -> Text:
    """``12:00:01.123 ~ UPDATE trips 17 "Lofoten"  status: "draft" → "planned"``."""
    sign, colour = _SIGNS.get(change.type, ("?", "yellow"))
    line = Text()
    line.append(f"{_local_time(change.commit_timestamp)} ", style="dim")
    line.append(f"{sign} {change.type} ", style=f"bold {colour}")
    name = change.table if change.schema == "public" else f"{change.schema}.{change.table}"
    line.append(_clean(name), style="bold")
    row = change.new if change.new is not None else change.old or {}
    changed = _changed(change)
    shown = _NAMING if changed else tuple(row)
    for column in (column for column in shown if column in row and column not in changed):
        line.append(f" {_clean(column)}=", style="dim")
        line.append(_value(row[column]))
    for column in changed:
        line.append(f"  {_clean(column)}: ", style=colour)
        line.append(_value((change.old or {})[column]), style="dim strike")
        line.append(" → ", style="dim")
        line.append(_value(row[column]))
    return line


def _changed(change: Change) -> list[str]:
    """Columns whose old value is known and differs, bookkeeping left out where it says nothing."""
    if change.new is None or change.old is None:
        return []
    old = change.old
    changed = [name for name, value in change.new.items() if name in old and old[name] != value]
    return [name for name in changed if name not in _BOOKKEEPING] or changed


def _value(value: Any) -> str:
    text = _clean(_encode(value).decode())
    return text if len(text) <= _VALUE_MAX else text[: _VALUE_MAX - 1] + "…"


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).replace("\x1b", "")


def _local_time(timestamp: str | None) -> str:
    if timestamp is None:
        return "--:--:--.---"
    try:
        moment = datetime.datetime.fromisoformat(timestamp)
    except ValueError:
        return _clean(timestamp)
    return f"{moment.astimezone():%H:%M:%S}.{moment.microsecond // 1000:03d}"
