"""What comes of a connection that breaks in the hands of its driver."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
import pytest

from tidewire.adapters.postgres.query_session import Connection, QuerySession
from tidewire.core.errors import DatabaseUnavailableError


class BrokenConnection:
    """Raises on each query, as asyncpg does when PostgreSQL dies."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.terminated = False

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        raise self._error

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("the underlying connection is closed"),
        ConnectionResetError(),
    ],
)
async def test_a_connection_that_breaks_is_a_database_that_does_not_answer(
    error: Exception, unused_tcp_port: int
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none"
    session = QuerySession(nowhere, deadline_s=1.0, statement_timeout_s=1.0, name="test")
    broken = BrokenConnection(error)
    session._connection = cast("Connection", broken)
    with pytest.raises(DatabaseUnavailableError):
        await session.fetch("select 1")
    assert broken.terminated
