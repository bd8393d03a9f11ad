"""``tidewire doctor``. Exit code 1 when it found an error."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from tidewire.cli.extras import import_server_part
from tidewire.cli.find_server import data_dir_option, find_running, settings_of, tenant_option
from tidewire.core.errors import SetupError
from tidewire.server.settings import load_settings

# A `server.doctor.Report`; its module is only there with the server extra.
Report = Any


@click.command(
    help="Check the installation, the settings and the database, and say what to do. Exit code 0: "
    "nothing must be mended, though there may be warnings; 1: something must; 2: wrong usage."
)
@click.option(
    "--database-url", metavar="URL", help="Database. [default: that of the running server]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file with settings."
)
@data_dir_option
@tenant_option
def command(
    *,
    database_url: str | None,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
    tenant: str | None,
) -> None:
    """Look, tell, and end with 1 when something must be mended."""
    doctor = import_server_part("tidewire.server.doctor", command="doctor")
    settings = load_settings(config_file=config)
    own = settings_of(settings, tenant or next(iter(settings.tenants), None))
    url = database_url or own.database.url
    absent = ""
    if not url:
        try:
            url = find_running(data_dir, tenant).database_url
        except SetupError as error:
            absent = error.problem
    examining = doctor.examine(settings, url, own=own, absent=absent, data_dir=data_dir)
    report: Report = asyncio.run(examining)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)))
    else:
        _tell(report)
    sys.exit(1 if report.has_error else 0)


def _tell(report: Report) -> None:
    installation = report.installation
    limit = installation.open_files if installation.open_files is not None else "no limit"
    click.echo(f"Tidewire {installation.tidewire}, Python {installation.python}")
    click.echo(f"row renderer   {installation.renderer}")
    click.echo(f"open files     {limit}")
    if report.database is not None:
        database = report.database
        click.echo(f"PostgreSQL     {database.version}")
        if database.slot is not None:
            slot = database.slot
            used = "in use" if slot.is_active else "idle"
            click.echo(
                f"slot           {slot.name}: {used}, {slot.wal_status}, "
                f"{slot.lag_bytes} bytes behind"
            )
        click.echo(f"tables         {', '.join(table.name for table in database.tables) or 'none'}")
    if report.journal is not None:
        journal = report.journal
        click.echo(
            f"journal        {journal.segments} files, {journal.bytes} bytes, "
            f"room for {journal.free_bytes} more"
        )
    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        click.secho(f"{finding.severity}: ", fg=colour, bold=True, nl=False)
        click.echo(finding.problem)
        if finding.advice:
            click.echo(f"  {finding.advice}")
    if not report.findings:
        click.secho("all is well", fg="green")
