"""What the driver raises when a connection cannot be made, turned into a `Finding`."""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Callable

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none
import msgspec

from tidewire.adapters.postgres.finding import Finding

DRIVER_ERRORS = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)


_TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})


class Address(msgspec.Struct, frozen=True):
    """What may be said of a database's address: everything but its password."""

    host: str
    port: int
    user: str
    database: str
    demands_tls: bool = False

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


def address_of(url: str) -> Address:
    """Read an address for messages; never raises."""
    try:
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        user = urllib.parse.unquote(parts.username or query.get("user", ""))
        path = urllib.parse.unquote(parts.path.lstrip("/"))
        return Address(
            host=parts.hostname or query.get("host", "") or "the default host",
            port=parts.port or int(query.get("port", "5432")),
            user=user or "the default user",
            database=path or query.get("database") or query.get("dbname") or user,
            demands_tls=query.get("sslmode", "") in _TLS_MODES,
        )
    except ValueError:
        return Address("an unreadable address", 0, "", "")


def explain_connect_failure(error: BaseException, url: str) -> Finding:
    """Why no connection was made, and what to do.

    Args:
        error: What `asyncpg.connect` raised.
        url: The address tried; its password never gets into the answer.
    """
    address = address_of(url)
    for kind, explain in _EXPLANATIONS:
        if isinstance(error, kind):
            return explain(error, address)
    return Finding("connection_failed", "error", f"cannot connect to {address.place}: {error}")


def _refused(error: BaseException, address: Address) -> Finding:
    del error
    return Finding(
        "connection_refused",
        "error",
        f"nothing listens at {address.place}",
        "Start PostgreSQL, and check host and port; a server on another machine must listen "
        "there (listen_addresses) and its firewall must let you in.",
    )


def _host_unknown(error: BaseException, address: Address) -> Finding:
    del error
    return Finding(
        "host_unknown",
        "error",
        f"the host name {address.host} is not known",
        "Check its spelling and this machine's name service.",
    )


def _timeout(error: BaseException, address: Address) -> Finding:
    del error
    return Finding(
        "timeout",
        "error",
        f"{address.place} did not answer in time",
        "Check host and port, and that no firewall drops the packets.",
    )


def _wrong_password(error: BaseException, address: Address) -> Finding:
    del error
    return Finding(
        "wrong_password",
        "error",
        f"{address.place} refuses the password of {address.user}",
        "Check user and password; special characters in a URL are written as %XX. "
        "An unknown user is told in the same words.",
    )


def _not_admitted(error: BaseException, address: Address) -> Finding:
    text = str(error)
    if "does not exist" in text:
        advice = "Check the user's name, or create the role."
        return Finding("no_such_role", "error", f"{address.place}: {text}", advice)
    if "no encryption" in text or "SSL off" in text:
        advice = "Add ?sslmode=require to the URL, or admit this host in pg_hba.conf."
        return Finding("tls_required", "error", f"{address.place}: {text}", advice)
    advice = "Add a line for this host, user and database to pg_hba.conf, and reload."
    return Finding("not_admitted", "error", f"{address.place}: {text}", advice)


def _no_database(error: BaseException, address: Address) -> Finding:
    del error
    return Finding(
        "no_such_database",
        "error",
        f"there is no database {address.database} at {address.place}",
        f"Check the name at the end of the URL, or run: createdb {address.database}",
    )


def _no_connect_right(error: BaseException, address: Address) -> Finding:
    return Finding(
        "no_connect_right",
        "error",
        f"{address.user} may not connect: {error}",
        f'Run as its owner: GRANT CONNECT ON DATABASE "{address.database}" TO "{address.user}"',
    )


def _too_many(error: BaseException, address: Address) -> Finding:
    return Finding(
        "too_many_connections",
        "error",
        f"{address.place} takes no more connections: {error}",
        "Raise max_connections, or end some sessions.",
    )


def _starting_up(error: BaseException, address: Address) -> Finding:
    return Finding(
        "starting_up", "error", f"{address.place} takes no connections now: {error}", "Wait."
    )


def _tls(error: BaseException, address: Address) -> Finding:
    return Finding(
        "tls",
        "error",
        f"no secure connection to {address.place}: {error}",
        "Check the server's certificate and its name, or the sslmode and sslrootcert of the URL.",
    )


def _connection_error(error: BaseException, address: Address) -> Finding:
    text = str(error)
    if "SSL" in text and address.demands_tls:
        return Finding(
            "tls_not_offered",
            "error",
            f"{address.place} offers no TLS, and the URL asks for it",
            "Turn ssl on in the server, or use sslmode=prefer or disable in a trusted network.",
        )
    return Finding(
        "connection_lost",
        "error",
        f"{address.place} does not speak as PostgreSQL does: {text or type(error).__name__}",
        "Check that it is a PostgreSQL, and what its log says.",
    )


def _os_error(error: BaseException, address: Address) -> Finding:
    # Several addresses of one name, each refused, come as one plain OSError.
    if "Errno 111" in str(error) or "Connect call failed" in str(error):
        return _refused(error, address)
    return Finding(
        "unreachable",
        "error",
        f"{address.place} cannot be reached: {error}",
        "Check host, port and network.",
    )


def _bad_url(error: BaseException, address: Address) -> Finding:
    del address
    reason = str(error).split("\n")[0] if "://" not in str(error) else "it does not parse"
    return Finding(
        "bad_url",
        "error",
        f"the database URL cannot be used: {reason}",
        "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
    )


_EXPLANATIONS: tuple[
    tuple[type[BaseException], Callable[[BaseException, Address], Finding]], ...
] = (
    (asyncpg.InvalidPasswordError, _wrong_password),
    (asyncpg.InvalidAuthorizationSpecificationError, _not_admitted),
    (asyncpg.InvalidCatalogNameError, _no_database),
    (asyncpg.InsufficientPrivilegeError, _no_connect_right),
    (asyncpg.TooManyConnectionsError, _too_many),
    (asyncpg.CannotConnectNowError, _starting_up),
    (socket.gaierror, _host_unknown),
    (ssl.SSLError, _tls),
    (TimeoutError, _timeout),
    (ConnectionRefusedError, _refused),
    (FileNotFoundError, _refused),
    (asyncpg.PostgresConnectionError, _connection_error),
    (ConnectionError, _connection_error),
    (OSError, _os_error),
    (asyncpg.InterfaceError, _bad_url),
    (ValueError, _bad_url),
)
