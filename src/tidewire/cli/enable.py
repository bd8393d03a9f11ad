"""``tidewire enable``: puts a table into the publication."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from tidewire.cli.extras import import_server_part
from tidewire.cli.find_server import data_dir_option, find_database_url, tenant_option
from tidewire.server.settings import load_settings


@click.command(
    help="Let clients subscribe to the changes of TABLE (or schema.table). Safe to run again."
)
@click.argument("table")
@click.option("--full", is_flag=True, help="Updates and deletes carry the whole old row.")
@click.option(
    "--database-url", metavar="URL", help="Database. [default: that of the running server]"
)
@data_dir_option
@tenant_option
def command(
    *,
    table: str,
    full: bool,
    database_url: str | None,
    data_dir: Path | None,
    tenant: str | None,
) -> None:
    """Enable and say what it means."""
    build = import_server_part("tidewire.server.build", command="enable")
    url = find_database_url(database_url, data_dir, tenant)
    publication = load_settings().database.publication
    outcome = asyncio.run(build.enable_table(url, table, full=full, publication=publication))
    name = f"{outcome.schema}.{outcome.table}"
    click.echo(f"{name} {'is live now' if outcome.changed else 'was live already'}")
    for note in outcome.notes:
        click.secho(f"note: {note}", fg="yellow", err=True)
