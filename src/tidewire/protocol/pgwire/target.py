"""A connection URL, read.

Source: PostgreSQL manual, "Connection URIs" and "SSL Mode Descriptions".
"""

from __future__ import annotations

import enum
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from tidewire.core.errors import SetupError

DEFAULT_PORT = 5432
_ADVICE = "Write it as postgresql://user:password@host:5432/database"


class SslMode(enum.Enum):
    """How much TLS is asked for."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class ConnectionTarget(msgspec.Struct, frozen=True):
    """Where to connect and as whom.

    Attributes:
        host: Name or address, or the folder of a unix socket (begins with a slash).
        port: TCP port, or the number in the socket's name.
        user: Role to log in as.
        password: None when the URL has none.
        database: Its name.
        ssl_mode: How much TLS is asked for.
        ssl_root_cert: File of the authorities to trust; "" for the system's.
        ssl_cert: File of the client's certificate, or "".
        ssl_key: File of its key, or "".
    """

    host: str
    port: int
    user: str
    password: str | None
    database: str
    ssl_mode: SslMode = SslMode.PREFER
    ssl_root_cert: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.host.startswith("/")

    @property
    def socket_path(self) -> str:
        """Path of the unix socket."""
        return f"{self.host}/.s.PGSQL.{self.port}"

    def __repr__(self) -> str:
        return f"ConnectionTarget({self.user}@{self.host}:{self.port}/{self.database})"


def parse_target(url: str) -> ConnectionTarget:
    """Read a connection URL. Parameters that mean nothing to a replication stream are passed over.

    Raises:
        SetupError: It is no such URL. The message does not hold the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SetupError("the database URL cannot be read", _ADVICE) from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise SetupError("the database URL does not begin with postgresql://", _ADVICE)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    user = query.get("user") or unquote(parts.username or "")
    if not user:
        raise SetupError("the database URL names no user", _ADVICE)
    password = unquote(parts.password) if parts.password is not None else query.get("password")
    return ConnectionTarget(
        host=query.get("host") or unquote(parts.hostname or "") or "localhost",
        port=port or _port(query.get("port", "")),
        user=user,
        password=password,
        database=unquote(parts.path.removeprefix("/")) or query.get("dbname") or user,
        ssl_mode=_ssl_mode(query.get("sslmode") or "prefer"),
        ssl_root_cert=query.get("sslrootcert", ""),
        ssl_cert=query.get("sslcert", ""),
        ssl_key=query.get("sslkey", ""),
    )


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise SetupError("the port in the database URL is no port", _ADVICE)
    return int(text)


def _ssl_mode(text: str) -> SslMode:
    try:
        return SslMode(text)
    except ValueError as error:
        names = ", ".join(mode.value for mode in SslMode)
        raise SetupError(f"unknown sslmode {text!r} in the database URL", f"One of {names}") from (
            error
        )
