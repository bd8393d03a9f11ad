"""One SQL connection that comes back by itself and never waits without end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it carries no types; `Connection` does

from tidewire.core.errors import DatabaseUnavailableError

logger = logging.getLogger(__name__)

# The text of values must be the same here as in the replication stream. Nothing is written, and
# nothing is found by a search path: every name in our queries is qualified.
STREAM_SETTINGS = {
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "on",
}
# asyncpg raises InternalClientError when PostgreSQL dies at a bad moment of its own state.
_LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
)
# The server answers, but not for us just now.
_REFUSED = (
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
_TRIES = 2

Row = Mapping[str, Any]


class StatementError(Exception):
    """PostgreSQL refused a statement; the connection is whole."""


class StatementTimeoutError(StatementError):
    """It took longer than a statement may."""


class Connection(Protocol):
    """The part of an asyncpg connection that is used."""

    async def execute(self, query: str, *arguments: Any) -> str:
        """Run statements; several only without arguments."""
        ...

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Row]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *arguments: Any) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first row's first column."""
        ...

    def transaction(self, *, isolation: str, readonly: bool) -> AbstractAsyncContextManager[None]:
        """A transaction around a block."""
        ...

    def is_closed(self) -> bool:
        """Whether it is of no more use."""
        ...

    async def close(self, *, timeout: float) -> None:
        """Say goodbye and close."""
        ...

    def terminate(self) -> None:
        """Close without goodbye."""
        ...


class QuerySession:
    """One connection for short queries, opened on first use and again when it is lost.

    One query runs at a time; callers queue. The deadline covers the waiting too.
    """

    def __init__(
        self,
        dsn: str | Callable[[], Awaitable[str]],
        *,
        deadline_s: float,
        statement_timeout_s: float,
        name: str,
        may_write: bool = False,
        settings: Mapping[str, str] = STREAM_SETTINGS,
    ) -> None:
        """Connect later.

        Args:
            dsn: Where the database is, or what says so at each connecting.
            deadline_s: Seconds after which a caller is told that there is no answer.
            statement_timeout_s: Seconds after which the server gives a statement up.
            name: What the connection is called in `pg_stat_activity`.
            may_write: Whether statements may change anything. A query that is tried again on
                a fresh connection may then run twice.
            settings: Of the session, apart from these.
        """
        self._dsn = dsn
        self._deadline_s = deadline_s
        self._settings = {
            **settings,
            "application_name": name,
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "default_transaction_read_only": "off" if may_write else "on",
        }
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection]:
        """The connection, to oneself.

        Raises:
            DatabaseUnavailableError: No connection, or the body took longer than the deadline
                or lost it.
            StatementError: PostgreSQL refused a statement of the body.
        """
        try:
            async with asyncio.timeout(self._deadline_s), self._lock:
                connection = await self._connect()
                done = False
                try:
                    yield connection
                    done = True
                except asyncpg.PostgresError as error:
                    # An error of the statement leaves the connection whole.
                    done = not isinstance(error, (*_LOST, *_REFUSED))
                    if done:
                        raise _statement_error(error) from error
                    raise
                finally:
                    if not done:
                        self._drop()
        except (TimeoutError, asyncpg.PostgresError, *_LOST) as error:
            # Whatever PostgreSQL says to a connection being opened, it gave no answer.
            raise DatabaseUnavailableError(f"the database does not answer: {error}") from error

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Row]:
        """Run one query; once more on a fresh connection when the first was lost.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
            StatementError: PostgreSQL refused the statement.
        """
        for attempt in range(_TRIES):
            try:
                async with self.connected() as connection:
                    return await connection.fetch(query, *arguments)
            except DatabaseUnavailableError as error:
                if attempt + 1 == _TRIES or isinstance(error.__cause__, TimeoutError):
                    raise
        raise AssertionError("the loop returns or raises")

    async def close(self) -> None:
        """Close the connection. A later query opens it again."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                try:
                    await connection.close(timeout=self._deadline_s)
                except (TimeoutError, *_LOST):
                    connection.terminate()

    async def _connect(self) -> Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        connect = cast("Callable[..., Awaitable[Connection]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType] - as above
        dsn = self._dsn if isinstance(self._dsn, str) else await self._dsn()
        self._connection = await connect(
            dsn, server_settings=self._settings, timeout=self._deadline_s
        )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _statement_error(error: asyncpg.PostgresError) -> StatementError:
    is_timeout = isinstance(error, asyncpg.QueryCanceledError)
    return StatementTimeoutError(str(error)) if is_timeout else StatementError(str(error))
