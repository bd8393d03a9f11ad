"""``tidewire demo``."""

from __future__ import annotations

from typing import Any

import click

from tidewire.cli.extras import import_server_part
from tidewire.cli.serve import serve_options, settings_from_flags


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
    import_server_part("tidewire.server.serve", command="demo").run(settings, with_demo=True)
