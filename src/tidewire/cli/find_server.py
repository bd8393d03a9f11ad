"""Finds the server that a client command shall talk to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from tidewire.core.errors import SetupError
from tidewire.server.ready_file import FOLDER_NAME, ReadyRecord, is_running, read_record
from tidewire.server.settings import Settings, load_settings


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


def tenant_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--tenant``: which of several tenants is meant."""
    return click.option(
        "--tenant", metavar="NAME", help="Which of several tenants. [default: the first one]"
    )(command)


def find_running(data_dir: Path | None = None, tenant: str | None = None) -> ReadyRecord:
    """The record of the server that runs in `data_dir`, or in the folder that settings name.

    Args:
        data_dir: Its data folder.
        tenant: Whose keys and addresses the record shall hold; None for the first one's.

    Raises:
        SetupError: None runs there, or it has no such tenant.
    """
    folder = data_dir or Path(load_settings().server.data_dir)
    record = read_record(folder / FOLDER_NAME)
    if record is None or not is_running(record):
        raise SetupError(
            f"No server is running with the data folder {folder}.",
            "Start one with `tidewire serve`, name its folder with --data-dir, "
            "or say where it is (see --help).",
        )
    return record if tenant is None else _record_of(record, tenant)


def _record_of(record: ReadyRecord, tenant: str) -> ReadyRecord:
    """The record with one tenant's keys and addresses in place of the first one's."""
    own = (record.tenants or {}).get(tenant)
    if own is None:
        names = ", ".join(record.tenants or ()) or "only one, which needs no name"
        raise SetupError(f"The server has no tenant {tenant}.", f"It has: {names}.")
    return msgspec.structs.replace(
        record,
        url=own.url,
        dashboard_url=f"{own.url}/",
        anon_key=own.anon_key,
        service_role_key=own.service_role_key,
        jwt_secret=own.jwt_secret,
        database_url=own.database_url,
    )


def settings_of(settings: Settings, tenant: str | None) -> Settings:
    """The settings of one tenant; those of the server when none is named.

    Raises:
        SetupError: They name tenants, and not this one.
    """
    if tenant is None or not settings.tenants:
        return settings
    if tenant not in settings.tenants:
        raise SetupError(
            f"The settings have no tenant {tenant}.", f"They have: {', '.join(settings.tenants)}."
        )
    return settings.tenants[tenant]


def find_target(
    url: str | None, key: str | None, data_dir: Path | None, tenant: str | None = None
) -> Target:
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
    record = find_running(data_dir, tenant)
    return Target(record.url, key or record.service_role_key)


def find_database_url(given: str | None, data_dir: Path | None, tenant: str | None = None) -> str:
    """The database to work on: the one given, that of the settings, or the running server's.

    Raises:
        SetupError: None is named and no server runs.
    """
    if given:
        return given
    named = "" if tenant else load_settings().database.url
    return named or find_running(data_dir, tenant).database_url
