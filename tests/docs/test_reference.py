"""Pages of reference are in step with the code they speak of."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace
from typing import Any

import click
import pytest

from tests.docs.pages import ROOT, table_rows
from tidewire.adapters.jwt import texts
from tidewire.adapters.postgres.row_security.stats import RowSecurityStats
from tidewire.cli.main import COMMANDS, group
from tidewire.client import errors as client_errors
from tidewire.core import errors as core_errors
from tidewire.core.errors import RealtimeError
from tidewire.engine import change_frames
from tidewire.engine.change_group import SUBSCRIBED
from tidewire.engine.stats import Stats
from tidewire.ports.change_source import StreamState, StreamStatus
from tidewire.ports.journal import JournalStatus
from tidewire.protocol.phoenix import codes
from tidewire.protocol.websocket import close_codes
from tidewire.server.numbers import ORIGINAL_NAMES, TenantNumbers, process_samples

ERRORS = (ROOT / "docs/reference/errors.md").read_text()
METRICS = (ROOT / "docs/operating/metrics.md").read_text()
CLASSES = {
    value
    for module in (core_errors, client_errors)
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, RealtimeError)
}

# Never sent: what a client makes of a close frame without a code, and of going away by itself.
UNSENT_CLOSES = {"NO_STATUS", "GOING_AWAY"}


def rows_of_three(text: str, head: str) -> list[list[str]]:
    part = text.partition(head)[2]
    return [[cell.strip("`") for cell in row] for row in table_rows(part) if len(row) == 3]


def test_every_error_is_on_the_page_with_its_code() -> None:
    told = {tuple(row) for row in rows_of_three(ERRORS, "## Codes of the errors")[1:]}
    assert told == {(c.__name__, c.code, "yes" if c.retryable else "no") for c in CLASSES}


def texts_of(module: Any, pattern: str) -> list[str]:
    return [
        value
        for name, value in vars(module).items()
        if re.fullmatch(pattern, name) and isinstance(value, str)
    ]


WIRE_TEXTS = [
    *(text for text in texts_of(codes, "[A-Z_]+") if text != "join crashed"),  # kept for nobody
    *texts_of(texts, "[A-Z_]+"),
    *texts_of(change_frames, "NO_PRIMARY_KEY|UNAUTHORIZED|TOO_LARGE|NOT_RENDERED"),
    codes.may_not_read("<topic>"),
    codes.may_no_longer_read("<topic>"),
    SUBSCRIBED,
]


@pytest.mark.parametrize("text", WIRE_TEXTS)
def test_every_text_of_the_wire_is_on_the_page_of_errors(text: str) -> None:
    assert text in ERRORS


def _literal_of(line: str) -> str:
    """What stays of an f-string when its values are left out: its longest fixed run."""
    return max(re.split(r"\{[^{}]*\}", line), key=len).strip(' ":')


def _messages_in(path: str, call: str) -> list[str]:
    source = (ROOT / path).read_text()
    found = re.findall(rf"{call}\(\s*(f?)(['\"])(.+?)\2\s*(?:,|\)|\n)", source)
    return [_literal_of(text) for _, _, text in found]


CAUSES = [
    message
    for path in (
        "src/tidewire/engine/subscriptions.py",
        "src/tidewire/engine/predicate_compiler.py",
        "src/tidewire/core/predicate.py",
        "src/tidewire/engine/subscription_entry.py",
    )
    for message in _messages_in(path, "InvalidSubscriptionError")
]


def test_every_cause_of_a_refused_subscription_is_on_the_page_of_errors() -> None:
    assert len(CAUSES) >= 9
    flat = ERRORS.replace("\\|", "|")
    assert [cause for cause in CAUSES if cause not in flat] == []


def test_every_close_code_is_on_the_page_of_errors() -> None:
    sent = {
        value
        for name, value in vars(close_codes).items()
        if name.isupper() and isinstance(value, int) and name not in UNSENT_CLOSES
    }
    part = ERRORS.partition("## When the connection is closed")[2].partition("##")[0]
    told = {int(row[0]) for row in table_rows(part) if row[0].isdigit()}
    assert told == sent


def test_every_metric_is_on_its_page_with_its_meaning() -> None:
    written: Any = SimpleNamespace(frames_written=0, bytes_written=0)
    source: Any = SimpleNamespace(status=StreamStatus(state=StreamState.LIVE))
    journal = SimpleNamespace(status=JournalStatus("files"))
    recorder: Any = SimpleNamespace(journal=journal, repeated=0)
    samples = [
        *TenantNumbers(Stats(), source, written, RowSecurityStats(), recorder).samples(),
        *process_samples(started_s=0.0),
    ]
    wanted = {
        (f"tidewire_{sample.name}", sample.help)
        for sample in samples
        if sample.prefix == "tidewire_"
    }
    told = {
        (row[0].strip("`"), row[1]) for row in table_rows(METRICS) if row[0].startswith("`tidewire")
    }
    assert told == wanted


COMMANDS_PAGE = (ROOT / "docs/reference/cli.md").read_text()
SHARED = {"--data-dir", "--help"}  # told at the head of the page
OPTIONS = [
    (name, option)
    for name in COMMANDS
    for command in [group.get_command(click.Context(group), name)]
    if command is not None
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for option in parameter.opts
    if option.startswith("--") and option not in SHARED
]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_of_a_command_is_on_its_page(name: str, option: str) -> None:
    section = COMMANDS_PAGE.partition(f"## `tidewire {name}")[2].partition("\n## ")[0]
    if name == "demo":  # it takes the flags of serve
        section += COMMANDS_PAGE.partition("## `tidewire serve`")[2].partition("\n## ")[0]
    assert option in section


def test_every_name_of_the_original_is_on_the_page_of_metrics() -> None:
    part = METRICS.partition("## Names of Supabase's server")[2]
    told = {tuple(cell.strip("`") for cell in row) for row in table_rows(part)} - {
        ("metric", "the same as")
    }
    assert told == {(f"realtime_{name}", same) for name, (same, _) in ORIGINAL_NAMES.items()}
