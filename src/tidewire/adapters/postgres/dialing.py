"""Opens the transport to PostgreSQL: TCP or unix socket, TLS as the URL's sslmode says.

Source: PostgreSQL manual, "SSL Session Encryption", "SSL Mode Descriptions".
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from tidewire.core.errors import DatabaseUnavailableError, ProtocolViolationError
from tidewire.protocol.pgwire.session import SSL_REQUEST
from tidewire.protocol.pgwire.target import ConnectionTarget, SslMode

_VERIFYING = (SslMode.VERIFY_CA, SslMode.VERIFY_FULL)
_PLAIN_ALLOWED = (SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER)


class Connected(Protocol):
    """A protocol that learns of its transport once, TLS already in place."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is open."""
        ...


def tls_attempts(target: ConnectionTarget) -> tuple[bool, ...]:
    """Whether to ask for TLS, in the order of tries; the next only when the login is refused."""
    if target.is_unix or target.ssl_mode is SslMode.DISABLE:
        return (False,)
    if target.ssl_mode is SslMode.ALLOW:
        return (False, True)
    if target.ssl_mode is SslMode.PREFER:
        return (True, False)
    return (True,)


async def dial(target: ConnectionTarget, protocol: asyncio.Protocol, *, with_tls: bool) -> None:
    """Connect `protocol`; its `connection_made` has been called when this returns.

    The caller sets the deadline.

    Raises:
        OSError: Nobody answers there, or the TLS handshake failed.
        DatabaseUnavailableError: The server speaks no TLS and the URL insists on it.
        ProtocolViolationError: The answer to the TLS request is none.
    """
    loop = asyncio.get_running_loop()
    if target.is_unix:
        await loop.create_unix_connection(lambda: protocol, target.socket_path)
    elif not with_tls:
        await loop.create_connection(lambda: protocol, target.host, target.port)
    else:
        await _dial_tls(target, protocol, loop)


async def _dial_tls(
    target: ConnectionTarget, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop
) -> None:
    context = tls_context(target)
    transport, answer = await loop.create_connection(_TlsAnswer, target.host, target.port)
    try:
        if await answer.is_granted:
            upgraded = await loop.start_tls(
                transport, protocol, context, server_hostname=target.host
            )
            assert upgraded is not None, "start_tls gives a transport or raises"
            protocol.connection_made(upgraded)
            return
        if target.ssl_mode not in _PLAIN_ALLOWED:
            raise DatabaseUnavailableError(
                f"the server speaks no TLS, but sslmode is {target.ssl_mode.value}"
            )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
    except BaseException:
        transport.abort()
        raise


def tls_context(target: ConnectionTarget) -> ssl.SSLContext:
    """What the URL's sslmode and certificate files ask for.

    Raises:
        OSError: A certificate file cannot be read.
    """
    context = ssl.create_default_context(cafile=target.ssl_root_cert or None)
    # As libpq does, a given root certificate is checked even under "require".
    verifies = target.ssl_mode in _VERIFYING or bool(target.ssl_root_cert)
    context.check_hostname = target.ssl_mode is SslMode.VERIFY_FULL
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if target.ssl_cert:
        context.load_cert_chain(target.ssl_cert, target.ssl_key or None)
    return context


class _TlsAnswer(asyncio.Protocol):
    """Asks for TLS and takes the one byte of the answer."""

    def __init__(self) -> None:
        self.is_granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Cast, not checked: uvloop's transports are no subclass of asyncio's.
        cast(asyncio.WriteTransport, transport).write(SSL_REQUEST)

    def data_received(self, data: bytes) -> None:
        if self.is_granted.done():
            return
        if data in (b"S", b"N"):
            self.is_granted.set_result(data == b"S")
            return
        # More than one byte would be plain text smuggled in before the handshake.
        self.is_granted.set_exception(ProtocolViolationError("no answer to the TLS request"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_granted.done():
            self.is_granted.set_exception(exc or ConnectionResetError("closed before TLS"))
