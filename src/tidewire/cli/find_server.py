"""Finds the server that a client command shall talk to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from tidewire.core.errors import SetupError
from tidewire.server.ready_file import FOLDER_NAME, ReadyRecord, is_running, read_record
from tidewire.server.settings import load_settings


class Target(msgspec.Struct, frozen=True):
    """Where to connect, and as whom."""

    url: str
    key: str


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--data-dir``: the folder of the server to talk to."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Data folder of the server to talk to. [default: .tidewire]",
    )(command)


def find_running(data_dir: Path | None = None) -> ReadyRecord:
    """The record of the server that runs in `data_dir`, or in the folder that settings name.

    Raises:
        SetupError: None runs there.
    """
    folder = data_dir or Path(load_settings().server.data_dir)
    record = read_record(folder / FOLDER_NAME)
    if record is None or not is_running(record):
        raise SetupError(
            f"No server is running with the data folder {folder}.",
            "Start one with `tidewire serve`, name its folder with --data-dir, "
            "or say where it is (see --help).",
        )
    return record


def find_target(url: str | None, key: str | None, data_dir: Path | None) -> Target:
    """Where to connect: what was given, and for the rest the server of the data folder.

    Raises:
        SetupError: Something is missing and no server runs there.
    """
    if url and key:
        return Target(url, key)
    if url:
        raise SetupError(
            "--url was given without --key.",
            "Give a key of that server too: its anon or service_role key.",
        )
    record = find_running(data_dir)
    return Target(record.url, key or record.service_role_key)


def find_database_url(given: str | None, data_dir: Path | None) -> str:
    """The database to work on: the one given, that of the settings, or the running server's.

    Raises:
        SetupError: None is named and no server runs.
    """
    return given or load_settings().database.url or find_running(data_dir).database_url
