"""The one place that opens SQL connections for set-up work: with a deadline and clear errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none; typed below

from tidewire.adapters.postgres.sql_errors import DRIVER_ERRORS, explain_connect_failure

CONNECT_DEADLINE_S = 5.0
STATEMENT_DEADLINE_S = 30.0
APPLICATION_NAME = "tidewire"


class SqlConnection(Protocol):
    """The part of `asyncpg.Connection` that is used here."""

    async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:
        """Run statements; several only without arguments."""
        ...

    async def fetch(
        self, query: str, *arguments: Any, timeout: float | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """All rows."""
        ...

    async def fetchrow(
        self, query: str, *arguments: Any, timeout: float | None = None
    ) -> Mapping[str, Any] | None:
        """The first row."""
        ...

    async def fetchval(
        self, query: str, *arguments: Any, column: int = 0, timeout: float | None = None
    ) -> Any:
        """One value of the first row."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction, or a savepoint inside one."""
        ...

    def add_log_listener(self, callback: Callable[[Any, Any], None]) -> None:
        """Have notices told to `callback`."""
        ...

    def get_server_pid(self) -> int:
        """The backend's pid as the start-up said it."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say goodbye."""
        ...


async def connect_raw(
    url: str = "",
    *,
    timeout_s: float = CONNECT_DEADLINE_S,
    server_settings: Mapping[str, str] | None = None,
    **options: Any,
) -> SqlConnection:
    """Connect, and let the driver's errors through; `options` are the driver's.

    Statements end after `STATEMENT_DEADLINE_S` unless they give their own.
    """
    connect = cast(Any, asyncpg).connect
    settings = {"application_name": APPLICATION_NAME} | dict(server_settings or {})
    return await connect(
        url or None,
        timeout=timeout_s,
        command_timeout=STATEMENT_DEADLINE_S,
        server_settings=settings,
        **options,
    )


@asynccontextmanager
async def connection_to(
    url: str, *, timeout_s: float = CONNECT_DEADLINE_S
) -> AsyncGenerator[SqlConnection]:
    """A connection for the length of a block.

    Raises:
        DatabaseUnavailableError: It did not answer; later it may.
        SetupError: It refused, and a person must mend something.
    """
    try:
        connection = await connect_raw(url, timeout_s=timeout_s)
    except DRIVER_ERRORS as error:
        raise explain_connect_failure(error, url).to_error() from error
    try:
        yield connection
    finally:
        await connection.close(timeout=timeout_s)
