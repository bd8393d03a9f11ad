"""``tidewire serve``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from tidewire.cli.extras import import_server_part
from tidewire.server.ready_file import FOLDER_NAME, ReadyRecord
from tidewire.server.settings import Settings, load_settings

_OPTIONS = (
    click.option(
        "--database-url",
        metavar="URL",
        help="Your own PostgreSQL 15 or newer, instead of an embedded one.",
    ),
    click.option(
        "--data-dir",
        metavar="DIR",
        help="Folder for keys, lock and the embedded database. [default: .tidewire]",
    ),
    click.option("--host", help="Address to listen on. [default: 127.0.0.1]"),
    click.option("--port", type=int, help="TCP port; 0 takes a free one. [default: 4000]"),
    click.option("--ready-file", metavar="PATH", help="Write addresses and keys here when ready."),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file with settings; docs/reference/settings.md lists them.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Least level that is logged. [default: info]",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["auto", "text", "json"]),
        help="text for people, json for machines. [default: auto]",
    ),
)


def serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `serve` and `demo` share."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_PATHS = {
    "database_url": "database.url",
    "data_dir": "server.data_dir",
    "host": "server.host",
    "port": "server.port",
    "ready_file": "server.ready_file",
    "log_level": "log.level",
    "log_format": "log.format",
}


def settings_from_flags(flags: Mapping[str, Any], **more: Any) -> Settings:
    """All layers of settings, the flags on top.

    Args:
        flags: What click read for `serve_options`.
        more: Further flags by their settings path, the dot written as a double underscore.
    """
    by_path = {_PATHS[name]: value for name, value in flags.items() if name in _PATHS}
    by_path |= {name.replace("__", "."): value for name, value in more.items()}
    return load_settings(config_file=flags["config"], flags=by_path)


def tell_ready(record: ReadyRecord, *, settings: Settings) -> None:
    """Say where the server is, on standard output; secrets stay in their file."""
    click.echo(f"Tidewire {record.version} is ready: {record.dashboard_url}")
    click.echo(f"Keys and addresses: {Path(settings.server.data_dir) / FOLDER_NAME}")


@click.command(help="Run the server, with its own PostgreSQL or yours, until Ctrl-C or SIGTERM.")
@serve_options
def command(**flags: Any) -> None:
    """Read the settings and run the server."""
    settings = settings_from_flags(flags)
    serve = import_server_part("tidewire.server.serve", command="serve")
    serve.run(settings, on_ready=partial(tell_ready, settings=settings))
