"""uvicorn's HTTP protocol with what it lacks: bounds on later requests, and a way back.

The sniffer bounds the first request head of a connection. uvicorn's parser bounds none: a later
head may be as long, and any head or body as slow, as its sender likes. So a head here has the
sniffer's bounds again, a body a deadline, and fields behind a body the bound of a head.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tidewire.protocol.websocket.handshake import refusal
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import finish_writing

_FIELD_EXTRA = 4  # the colon, a blank and the end of the line, which the parser keeps back


class KeepAliveHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which gives a later upgrade back to a sniffer.

    The methods it replaces are not public interface of uvicorn: a contract test watches them.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: SocketLimits,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._head_bytes = 0  # of reads that began within the head
        self._field_bytes = 0  # of fields that are whole, wherever their read began
        self._is_reading_head = False
        self._deadline: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ what uvicorn and asyncio call

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a head, of a body, or of both."""
        if self._is_reading_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_reading_head and self._is_head_too_long():
            self._refuse(431)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._clear_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._is_reading_head = True
        self._head_bytes = 0
        self._field_bytes = 0
        self._set_deadline(self._limits.head_timeout_s)

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._field_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, of the head or behind the body."""
        self._field_bytes += len(name) + len(value) + _FIELD_EXTRA
        if not self._is_reading_head:
            if self._is_head_too_long():
                self.transport.abort()
            return  # what stands behind a body was never asked for: nobody shall believe it
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_reading_head = False
        self._head_bytes = 0
        self._field_bytes = 0
        self._set_deadline(self._limits.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._clear_deadline()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """A request of this connection asks for WebSocket."""
        self._clear_deadline()
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            return
        self.connections.discard(self)
        lines = [b"%s %s HTTP/1.1\r\n" % (self.scope["method"].encode(), self.url)]
        lines += [b"%s: %s\r\n" % (name, value) for name, value in self.headers]
        assert self.ws_protocol_class is not None
        sniffer: Any = cast("Any", self.ws_protocol_class)(
            self.config, self.server_state, self.app_state
        )
        sniffer.connection_made(self.transport)
        self.transport.set_protocol(sniffer)
        sniffer.data_received(b"".join(lines) + b"\r\n")

    def abort(self) -> None:
        """End at once."""
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an offer of HTTP/2, as Java's client makes, is served as HTTP/1.1."""

    # ------------------------------------------------------------ bounds

    def _is_head_too_long(self) -> bool:
        return max(self._head_bytes, self._field_bytes) > self._limits.head_bytes_max

    def _too_late(self) -> None:
        self._deadline = None
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Say why where an answer can still be understood, and end the connection."""
        self._clear_deadline()
        cycle: Any = self.cycle
        if self.transport.is_closing():
            return
        is_answering = cycle is not None and not cycle.response_complete
        if is_answering or not self._is_reading_head:
            self.transport.abort()  # an answer may be half written, or given already
            return
        self.transport.write(refusal(status))
        finish_writing(self.transport)
        self._deadline = self.loop.call_later(self._limits.close_timeout_s, self.transport.abort)

    def _set_deadline(self, delay_s: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(delay_s, self._too_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
