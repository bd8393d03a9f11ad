"""Opens a replication connection: transport, TLS, login, under one deadline."""

from __future__ import annotations

import asyncio

from tidewire.adapters.postgres.dialing import dial, tls_attempts
from tidewire.adapters.postgres.replication import (
    ReplicationConnection,
    ReplicationLimits,
    ServerRefusalError,
)
from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError, ProtocolViolationError
from tidewire.protocol.pgwire.target import ConnectionTarget

_INVALID_AUTHORIZATION = "28000"
"""Also what `pg_hba.conf` says when it wants TLS, or wants none."""


async def open_replication(
    target: ConnectionTarget, *, application_name: str, clock: Clock, limits: ReplicationLimits
) -> ReplicationConnection:
    """Connect and log in.

    Raises:
        ServerRefusalError: PostgreSQL refused the login.
        DatabaseUnavailableError: Nobody answers, or not within the deadline.
    """
    attempts = tls_attempts(target)
    for index, with_tls in enumerate(attempts):
        connection = ReplicationConnection(target, application_name, clock, limits)
        try:
            await _log_in(connection, target, with_tls=with_tls, timeout_s=limits.connect_timeout_s)
        except ServerRefusalError as error:
            is_last = index == len(attempts) - 1
            if is_last or error.report.code != _INVALID_AUTHORIZATION:
                raise
        else:
            return connection
    raise AssertionError("the last attempt returns or raises")


async def _log_in(
    connection: ReplicationConnection,
    target: ConnectionTarget,
    *,
    with_tls: bool,
    timeout_s: float,
) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await dial(target, connection, with_tls=with_tls)
            await connection.wait_ready()
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError):
            raise DatabaseUnavailableError(f"no connection to {target!r} in time") from error
        if isinstance(error, OSError | ProtocolViolationError):
            raise DatabaseUnavailableError(f"no connection to {target!r}: {error}") from error
        raise
