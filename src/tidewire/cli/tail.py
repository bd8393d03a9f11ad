"""``tidewire tail``: prints a table's changes as they are committed, for ever.

Everything but the changes goes to standard error. Exit codes: 0 ended by Ctrl-C, by --limit or
by the reader closing the pipe; 1 the server refused; 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

import click

from tidewire.cli.find_server import Target, data_dir_option, find_target, tenant_option
from tidewire.cli.tail_format import Write, json_writer, pretty_writer
from tidewire.client.changes import ChangeStream
from tidewire.client.errors import ChangesLostError
from tidewire.client.realtime_client import RealtimeClient
from tidewire.client.settings import ConnectionState, Status


class Wanted(NamedTuple):
    """Which changes are to be printed; as in `RealtimeClient.changes`."""

    schema: str
    table: str
    event: str
    filter: str | None


@click.command(help="Print the changes of TABLE (or schema.table, or *) as they are committed.")
@click.argument("table")
@click.option("--schema", help="Schema of the table, or *. [default: public]")
@click.option(
    "--event",
    type=click.Choice(["*", "INSERT", "UPDATE", "DELETE"], case_sensitive=False),
    default="*",
    help="Only this kind of change.",
)
@click.option(
    "--filter", "filter_", metavar="F", help="Only rows that meet this, such as status=eq.draft."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="End after this many changes.")
@click.option("--url", help="Address of the server. [default: the one of the data folder]")
@click.option("--key", help="An anon or service_role key. [default: service_role of the folder]")
@data_dir_option
@tenant_option
def command(
    *,
    table: str,
    schema: str | None,
    event: str,
    filter_: str | None,
    as_json: bool,
    limit: int | None,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
    tenant: str | None,
) -> None:
    """Print changes until ended."""
    target = find_target(url, key, data_dir, tenant)
    if schema is None:
        schema, _, table = table.rpartition(".")
    wanted = Wanted(schema or "public", table, event.upper(), filter_)
    write = json_writer(sys.stdout) if as_json else pretty_writer(sys.stdout)
    try:
        asyncio.run(_tail(target, wanted, write, limit))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Python flushes standard output once more at exit; the pipe is gone, so give it another.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _tail(target: Target, wanted: Wanted, write: Write, limit: int | None) -> None:
    left = limit
    async with RealtimeClient(target.url, target.key, on_status=StatusTeller().tell) as client:
        while left is None or left > 0:
            try:
                stream = client.changes(
                    wanted.table, schema=wanted.schema, event=wanted.event, filter=wanted.filter
                )
                async with stream:
                    _tell(f"listening to {wanted.schema}.{wanted.table}")
                    left = await _print(stream, write, left)
            except ChangesLostError:
                _tell("changes came faster than they were read; some are missing here", "yellow")


async def _print(stream: ChangeStream, write: Write, left: int | None) -> int | None:
    """Print until the limit. A thread writes: it may wait for a slow reader, the link may not."""
    interruptions = 0
    async for change in stream:
        if stream.interruptions != interruptions:
            interruptions = stream.interruptions
            _tell("the link was down; changes committed meanwhile are not shown", "yellow")
        await asyncio.to_thread(write, change)
        if change.errors:
            _tell(f"not all of this change could be sent: {', '.join(change.errors)}", "yellow")
        if left is not None:
            left -= 1
            if left == 0:
                break
    return left


class StatusTeller:
    """Says on standard error how the link is, once for each time that it breaks or returns."""

    def __init__(self) -> None:
        self._was_down = False

    def tell(self, status: Status) -> None:
        """Take a new status of the link."""
        if status.state is ConnectionState.WAITING:
            if status.attempt <= 1 or not self._was_down:
                _tell(f"no link ({status.detail}); trying again until there is one", "yellow")
            self._was_down = True
        elif status.state is ConnectionState.CONNECTED and self._was_down:
            self._was_down = False
            _tell("connected again")


def _tell(text: str, colour: str | None = None) -> None:
    click.secho(text, fg=colour, dim=colour is None, err=True)
