"""The group of all commands; each command's file is imported only when it is called.

Exit codes: 0 done (also when ended by Ctrl-C or a closed pipe), 1 an error that a person must
look at, told on standard error, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import sys

import click

from tidewire import __version__
from tidewire.core.errors import RealtimeError, SetupError

# Name: what it does, in the order of the help. The module is tidewire.cli.<name>.
COMMANDS = {
    "serve": "Run the server, with its own PostgreSQL or yours.",
    "demo": "Run the server with sample data to look at.",
    "tail": "Print a table's changes as they are committed.",
    "enable": "Let clients subscribe to a table's changes.",
    "token": "Mint a token for a role.",
    "doctor": "Check the database and the installation.",
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, most used first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tidewire.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help lines from the table above, so that the help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidewire", message="%(prog)s %(version)s")
def group() -> None:
    """Realtime for teams with a PostgreSQL: live changes, presence and broadcast."""


def main() -> None:
    """Run the command line; errors that a person can mend are told without a traceback."""
    try:
        group.main(prog_name="tidewire", standalone_mode=True)
    except SetupError as error:
        tell_error(error.problem, error.advice)
        sys.exit(1)
    except RealtimeError as error:
        tell_error(str(error))
        sys.exit(1)


def tell_error(problem: str, advice: str = "") -> None:
    """Print a problem and what to do about it on standard error."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(problem, err=True)
    if advice:
        click.echo(advice, err=True)
