"""The database of a server: one of our own beside it, or one that it is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from tidewire.core.errors import RealtimeError, SetupError, UnavailableError

_logger = logging.getLogger(__name__)


class Embedded(Protocol):
    """The part of an embedded PostgreSQL that is used here."""

    @property
    def version(self) -> str:
        """Of the running server."""
        ...

    async def start(self) -> str:
        """Start or adopt it; gives its address."""
        ...

    async def supervise(self) -> None:
        """Start it again whenever it ends."""
        ...

    async def stop(self) -> None:
        """Shut it down."""
        ...


class Problem(Protocol):
    """The part of a finding about a database that is used here."""

    @property
    def severity(self) -> str:
        """``error`` or ``warning``."""
        ...

    @property
    def problem(self) -> str:
        """What is so."""
        ...

    @property
    def advice(self) -> str:
        """What to do about it."""
        ...

    def to_error(self) -> RealtimeError:
        """As an exception: an `UnavailableError` where waiting may help."""
        ...


class Database(msgspec.Struct, frozen=True):
    """A database that answers.

    Attributes:
        url: Its address, by a role that may do what the server needs.
        description: For people, without secrets.
        supervise: What must run as long as it is used; None when nobody need look after it.
    """

    url: str
    description: str
    supervise: Callable[[], Awaitable[None]] | None = None


@asynccontextmanager
async def embedded_database(
    embedded: Embedded, folder: Path, *, stop_within_s: Callable[[], float]
) -> AsyncGenerator[Database]:
    """Run an embedded PostgreSQL for the length of the block, and shut it down after.

    Args:
        embedded: Not started yet.
        folder: Where it lies, for people.
        stop_within_s: Asked at the end how long the shutdown may be waited for. It was told to
            stop by then and does so by itself; the next start finds it however far it came.

    Raises:
        SetupError: It cannot be started; says why.
    """
    try:
        url = await embedded.start()
        yield Database(url, f"PostgreSQL {embedded.version} in {folder}", embedded.supervise)
    finally:
        try:
            async with asyncio.timeout(stop_within_s()):
                await embedded.stop()
        except TimeoutError:
            _logger.warning("PostgreSQL is still shutting down")


def require_fit(problems: list[Problem], *, may_wait: bool = False) -> list[Problem]:
    """Refuse a database on which the server cannot work.

    Args:
        problems: What was found.
        may_wait: Whether somebody tries again later.

    Returns:
        The warnings that remain.

    Raises:
        SetupError: Names every error, with advice for each.
        DatabaseUnavailableError: `may_wait`, and waiting may help.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return list(problems)
    if may_wait and isinstance(passing := errors[0].to_error(), UnavailableError):
        raise passing
    if len(errors) == 1:
        raise SetupError(errors[0].problem, errors[0].advice)
    lines = [f"- {error.problem}\n  {error.advice}".rstrip() for error in errors]
    raise SetupError(
        f"The database is not ready: {len(errors)} things must be mended.", "\n".join(lines)
    )
