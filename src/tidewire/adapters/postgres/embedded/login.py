"""Logging in to the embedded server, as a client would, and mending its password."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none

from tidewire.adapters.postgres.connect import connect_raw
from tidewire.core.errors import DatabaseUnavailableError, SetupError

LOGIN_DEADLINE_S = 10.0
SUPERUSER = "postgres"


def database_url(password: str, port: int, *, database: str = "postgres") -> str:
    """The address that any PostgreSQL client on this machine can use."""
    secret = urllib.parse.quote(password, safe="")
    name = urllib.parse.quote(database, safe="")
    return f"postgresql://{SUPERUSER}:{secret}@127.0.0.1:{port}/{name}"


async def check_login(
    *,
    password: str,
    port: int,
    socket_folder: Path | None,
    data_folder: Path,
    is_new: bool = False,
) -> str:
    """Log in over TCP, and see that the server is the one of `data_folder`.

    When the cluster has another password, or none yet, it is set over the socket.

    Returns:
        The server's version, such as ``18.6``.

    Raises:
        DatabaseUnavailableError: It does not answer.
        SetupError: Another server answers on that port, or the login is refused.
    """
    try:
        if is_new and socket_folder is not None:
            await _set_password(password, port, socket_folder)
        try:
            return await _ask(database_url(password, port), data_folder)
        except asyncpg.InvalidPasswordError:
            if socket_folder is None:
                raise
            await _set_password(password, port, socket_folder)
            return await _ask(database_url(password, port), data_folder)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseUnavailableError(
            f"the embedded PostgreSQL does not answer on port {port}: {error}"
        ) from error
    except asyncpg.PostgresError as error:
        raise SetupError(
            f"the embedded PostgreSQL refuses its superuser: {error}",
            "Look at pg_hba.conf and the role postgres in its data folder.",
        ) from error


async def _ask(url: str, data_folder: Path) -> str:
    connection = await connect_raw(url, timeout_s=LOGIN_DEADLINE_S, ssl=False)
    try:
        folder: str = await connection.fetchval("show data_directory")
        version: str = await connection.fetchval("show server_version")
    finally:
        await connection.close(timeout=LOGIN_DEADLINE_S)
    if Path(folder) != data_folder and not _is_same(Path(folder), data_folder):
        raise SetupError(
            f"the PostgreSQL that answers runs on {folder}, not on {data_folder}",
            "End it, or give another port.",
        )
    return version.split(maxsplit=1)[0]


async def _set_password(password: str, port: int, socket_folder: Path) -> None:
    connection = await connect_raw(
        host=str(socket_folder),
        port=port,
        user=SUPERUSER,
        database="postgres",
        timeout_s=LOGIN_DEADLINE_S,
    )
    try:
        statement: str = await connection.fetchval(
            "select format('alter role %I password %L', $1::text, $2::text)", SUPERUSER, password
        )
        await connection.execute(statement, timeout=LOGIN_DEADLINE_S)
    finally:
        await connection.close(timeout=LOGIN_DEADLINE_S)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
