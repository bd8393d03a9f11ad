"""The one port: uvicorn serving HTTP, with our sniffer in front of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn import Config, Server

from tidewire.core.errors import SetupError
from tidewire.server.forwarded import ForwardedRequests, TrustedProxies
from tidewire.server.open_files import open_files_warning, raise_open_files
from tidewire.server.sniff import bound_sniffer, share_live
from tidewire.server.upgrades import Decider, Upgrades
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import Closable, SocketGroup

_logger = logging.getLogger(__name__)

WEBSOCKET_PATHS = frozenset(("/realtime/v1/websocket", "/socket/websocket"))
"""Where clients ask for the upgrade (wire specification 1.1)."""

BACKLOG = 4096
TICK_S = 1.0

_TAKEN = "Stop the program that uses it, or take another with --port (0 takes any free one)."
_PRIVILEGED = "Ports below 1024 need special rights; take another with --port."


class WebServer:
    """HTTP and WebSocket on one port.

    Installs no signal handlers. `start` and `stop` each work once.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        acceptor: Decider,
        *,
        host: str,
        port: int,
        limits: SocketLimits | None = None,
        paths: frozenset[str] = WEBSOCKET_PATHS,
        trusted_proxies: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        on_slow_consumer: Callable[[], None] = lambda: None,
        drain_s: int = 5,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            app: ASGI 3 application for plain HTTP. Its lifespan is not run.
            acceptor: Decides on WebSocket upgrades.
            host: Name or address to listen on; "" for all.
            port: Port, 0 for a free one.
            limits: Bounds of the sockets.
            paths: Where upgrades are taken.
            trusted_proxies: Addresses or networks whose X-Forwarded-… headers are believed.
            ssl_context: For TLS.
            on_slow_consumer: Called once per peer cut off because it did not read.
            drain_s: How long `stop` lets connections end by themselves.

        Raises:
            SetupError: A trusted proxy is no address.
        """
        self._app = app
        self._acceptor = acceptor
        self._host = host
        self._port = port
        self._limits = limits or SocketLimits()
        self._paths = paths
        self._proxies = TrustedProxies(trusted_proxies)
        self._live: set[Closable] = set()
        self._ssl_context = ssl_context
        self._on_slow_consumer = on_slow_consumer
        self._drain_s = drain_s
        self._server: Server | None = None
        self._upgrades: Upgrades | None = None
        self._sockets: list[socket.socket] = []
        self._ticker: asyncio.Task[None] | None = None

    @property
    def connection_count(self) -> int:
        """Open connections, HTTP included."""
        return len(self._live)

    def socket_group(
        self, limits: SocketLimits, on_slow_consumer: Callable[[], None]
    ) -> SocketGroup:
        """A group of connections with bounds of their own, for a `Grant`.

        Call within the running loop.

        Args:
            limits: Their bounds; those on request heads and on all connections stay the server's.
            on_slow_consumer: Called once per peer cut off because it did not read.
        """
        loop = asyncio.get_running_loop()
        return SocketGroup(limits, loop=loop, live=self._live, on_slow_consumer=on_slow_consumer)

    async def start(self) -> tuple[str, int]:
        """Listen.

        Returns:
            The host as given and the real port.

        Raises:
            SetupError: The port is taken or the address is not ours.
        """
        assert self._server is None, "started twice"
        warning = open_files_warning(raise_open_files(), self._limits.max_connections)
        if warning:
            _logger.warning(warning)
        loop = asyncio.get_running_loop()
        self._sockets = await _listen(self._host, self._port, self._limits.sndbuf_bytes)
        self._server = server = self._build()
        await server.startup(sockets=self._sockets)
        await server.on_tick(0)
        self._ticker = loop.create_task(self._tick(server))
        return self._host, self._sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more, close all connections (WebSockets with 1012), wait, then cut the rest.

        A second call, or one before `start`, does nothing.
        """
        server, self._server = self._server, None
        if server is None:
            return
        assert self._ticker is not None
        assert self._upgrades is not None
        self._ticker.cancel()
        await server.shutdown(sockets=self._sockets)
        for connection in list(self._live):
            connection.abort()
        await asyncio.gather(self._ticker, *self._upgrades.tasks, return_exceptions=True)

    def _build(self) -> Server:
        context = self._ssl_context
        config = Config(
            ForwardedRequests(self._app, self._proxies),
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            proxy_headers=False,
            timeout_graceful_shutdown=self._drain_s,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        server = Server(config)
        share_live(server.server_state, self._live)
        self._upgrades = Upgrades(
            self._acceptor,
            paths=self._paths,
            group=self.socket_group(self._limits, self._on_slow_consumer),
            proxies=self._proxies,
        )
        config.http = config.ws = bound_sniffer(self._upgrades)
        config.load()
        server.lifespan = config.lifespan_class(config)
        return server

    async def _tick(self, server: Server) -> None:
        """Keep the Date header of HTTP answers right."""
        while True:
            await asyncio.sleep(TICK_S)
            await server.on_tick(0)


async def _listen(host: str, port: int, sndbuf_bytes: int) -> list[socket.socket]:
    """Open listening sockets on every address of `host`, all on one port.

    Raises:
        SetupError: The port is taken, not allowed, or the address is not this machine's.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise SetupError(
            f"cannot listen on {host}: {error.strerror}", "Check the name given with --host."
        ) from None
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if sockets and port == 0:
                port = sockets[0].getsockname()[1]
            listener = _open(family, (address[0], port, *address[2:]), sndbuf_bytes)
            if listener is not None:
                sockets.append(listener)
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, "no address of this machine")
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise _setup_error(error, host, port) from None
    return sockets


def _open(family: int, address: tuple[Any, ...], sndbuf_bytes: int) -> socket.socket | None:
    """A listening socket; None when the machine does not speak this address family."""
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        if sys.platform != "win32":
            # There it means "share the port with others"; here, "do not wait for old connections".
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf_bytes)
        listener.settimeout(0)
        listener.bind(address)
        # Said to the kernel now: two listeners may bind one port, only listening finds out.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            return None  # IPv6 is compiled in but switched off
        raise
    return listener


def _setup_error(error: OSError, host: str, port: int) -> SetupError:
    where = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return SetupError(f"port {port} is taken ({where})", _TAKEN)
    if error.errno == errno.EACCES:
        return SetupError(f"no right to listen on {where}", _PRIVILEGED)
    return SetupError(f"cannot listen on {where}: {error.strerror}", "Check --host and --port.")
