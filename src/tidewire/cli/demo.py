"""``tidewire demo``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tidewire.cli.extras import import_server_part
from tidewire.cli.serve import serve_options, settings_from_flags, tell_ready
from tidewire.server.ready_file import ReadyRecord
from tidewire.server.settings import Settings


@click.command(
    help="Run the server with sample data: a travel agency's organizers, clients and trips."
)
@serve_options
@click.option(
    "--simulate/--no-simulate",
    default=None,
    help="Let robot organizers edit the data. [default: no]",
)
@click.option(
    "--edits-per-s", type=float, help="Edits of all robots together, a second. [default: 2]"
)
def command(*, simulate: bool | None, edits_per_s: float | None, **flags: Any) -> None:
    """Read the settings, make the sample data and run the server."""
    settings = settings_from_flags(flags, demo__simulate=simulate, demo__edits_per_s=edits_per_s)
    serve = import_server_part("tidewire.server.serve", command="demo")
    serve.run(settings, with_demo=True, on_ready=partial(_tell_ready, settings=settings))


def _tell_ready(record: ReadyRecord, *, settings: Settings) -> None:
    tell_ready(record, settings=settings)
    folder = (
        "" if settings.server.data_dir == ".tidewire" else f" --data-dir {settings.server.data_dir}"
    )
    click.echo(f"Open the address in two windows, or run: tidewire tail trips{folder}")
    if not settings.demo.simulate:
        click.echo("Nothing edits the data by itself; start with --simulate to let robots do it.")
