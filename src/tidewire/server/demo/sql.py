"""The few calls of asyncpg that the demo makes, with types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - has none; typed by SqlConnection below

CONNECT_TIMEOUT_S = 10.0

# What a database that is away, or goes away, raises.
DATABASE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
ConstraintError: type[Exception] = asyncpg.IntegrityConstraintViolationError


class SqlConnection(Protocol):
    """One connection; values travel as parameters ``$1``, ``$2``."""

    async def execute(self, query: str, *values: object) -> str:
        """Run a statement, or several without values."""
        ...

    async def executemany(self, command: str, args: Sequence[Sequence[object]]) -> None:
        """Run one statement for each sequence of values."""
        ...

    async def fetch(self, query: str, *values: object) -> Sequence[Mapping[str, Any]]:
        """All rows of a query."""
        ...

    async def fetchval(self, query: str, *values: object) -> Any:
        """First value of the first row; None when there is none."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Commits when left, rolls back when left by an exception."""
        ...

    async def close(self, *, timeout: float) -> None:
        """End the connection politely."""
        ...

    def terminate(self) -> None:
        """End the connection at once."""
        ...


async def connect(url: str, *, name: str, statement_timeout_s: float) -> SqlConnection:
    """Connect under an application name; each statement has a deadline.

    Raises:
        Exception: One of `DATABASE_ERRORS`.
    """
    open_connection = cast(Any, asyncpg).connect
    connection: SqlConnection = await open_connection(
        url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=statement_timeout_s,
        server_settings={"application_name": name},
    )
    return connection
