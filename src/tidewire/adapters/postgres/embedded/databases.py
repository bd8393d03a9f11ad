"""Several databases in one embedded server, so that tenants without their own are apart."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none

from tidewire.adapters.postgres.connect import connection_to
from tidewire.protocol.pgwire.quoting import quote_identifier

_SLOTS = 10
_SPARE_SLOTS = 6
_CONNECTIONS = 100
_CONNECTIONS_EACH = 12


def database_beside(url: str, name: str) -> str:
    """The address of the database `name` on the server of `url`."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(name, safe="")))


async def make_database(url: str, name: str) -> None:
    """Make the database `name` on the server of `url`, unless it is there.

    Nobody but its owner may connect to it: roles are shared by all databases of one server.

    Raises:
        DatabaseUnavailableError: The server does not answer.
        SetupError: It refuses.
    """
    async with connection_to(url) as connection:
        known = await connection.fetchval("select 1 from pg_database where datname = $1", name)
        if known:
            return
        quoted = quote_identifier(name)
        try:
            # template0: what somebody put into template1 belongs to no tenant.
            await connection.execute(f"create database {quoted} template template0")
        except asyncpg.DuplicateDatabaseError:
            return
        await connection.execute(f"revoke connect, temporary on database {quoted} from public")


def room_for(databases: int) -> Mapping[str, str]:
    """Settings under which a server streams from so many databases; none where few will do."""
    if databases + _SPARE_SLOTS <= _SLOTS:
        return {}
    slots = str(databases + _SPARE_SLOTS)
    return {
        "max_wal_senders": slots,
        "max_replication_slots": slots,
        "max_connections": str(max(_CONNECTIONS, databases * _CONNECTIONS_EACH)),
    }
