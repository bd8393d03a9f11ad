"""The first look at a connection: WebSocket upgrades to our transport, all else to uvicorn.

uvicorn builds a `Sniffer` for each connection in place of its own HTTP protocol. It reads the
first request head and hands the socket, with every byte read so far, to `WebSocketTransport` or
to uvicorn's HTTP protocol. A later request of a kept-alive HTTP connection may ask for an
upgrade too: `KeepAliveHttp` gives the socket back to a new `Sniffer`. Only an upgrade sent
before the answers to the requests in front of it is not granted; the connection closes once
those are answered.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import logging
from collections.abc import Awaitable
from typing import Any, ClassVar, cast

import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

from tidewire.ports.transport import Accept, Refusal, UpgradeRequest
from tidewire.protocol.phoenix import codes
from tidewire.protocol.websocket.handshake import (
    HEAD_END,
    HandshakeError,
    RequestHead,
    asks_websocket,
    check_upgrade,
    has_bare_line_break,
    may_ask_upgrade,
    negotiate_deflate,
    parse_head,
    parse_query,
    refusal,
    switching_protocols,
)
from tidewire.server.keep_alive_http import KeepAliveHttp
from tidewire.server.upgrades import Decision, Grant, Upgrades
from tidewire.transports.websocket import (
    Closable,
    SocketGroup,
    WebSocketTransport,
    finish_writing,
)

_logger = logging.getLogger(__name__)

HEADS_RESERVE = 256
"""Connections past the limit that are still read, to be answered 503 rather than cut."""

_NOT_DECIDED = Refusal(500, msgspec.json.encode({"error": codes.NOT_CONNECTED}))
_NO_SUCH_PATH = Refusal(404, b'{"error":"No WebSocket here"}')
_TOO_MANY = refusal(503, b'{"error":"Too many connections"}', headers={"Retry-After": "5"})


class _State(enum.Enum):
    READING = enum.auto()  # the head is not whole
    DECIDING = enum.auto()  # an upgrade waits for its answer
    ANSWERED = enum.auto()  # refused; what still comes is thrown away
    GONE = enum.auto()  # handed over or lost


class _Upgrade(msgspec.Struct, frozen=True):
    """A well-formed upgrade: its key and its head."""

    key: str
    head: RequestHead


class Sniffer(asyncio.Protocol):
    """Reads the first request head of one connection.

    Its constructor is called by uvicorn; `bound_sniffer` gives it its `upgrades`.
    """

    __slots__ = (
        "_app_state",
        "_config",
        "_data",
        "_deadline",
        "_server_state",
        "_state",
        "_task",
        "_transport",
    )

    upgrades: ClassVar[Upgrades]
    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._data: bytes | bytearray = b""  # the head, later what came behind it
        self._state = _State.READING
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ what uvicorn and asyncio call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        group = self.upgrades.group
        if len(group.live) >= group.limits.max_connections + HEADS_RESERVE:
            self._state = _State.GONE
            self._transport.abort()
            return
        group.live.add(self)
        self.upgrades.note_reading(self)
        self._set_deadline(group.limits.head_timeout_s, self._head_too_late)

    def data_received(self, data: bytes) -> None:
        """Bytes of the head, or what a hasty client sends behind it."""
        if self._state is _State.READING:
            self._read_head(data)
        elif self._state is _State.DECIDING:
            self._data += data
            self._bound_what_waits()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left before it was handed over."""
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def shutdown(self) -> None:
        """The server drains."""
        if self._state in (_State.READING, _State.DECIDING):
            self._answer(refusal(503))

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # ------------------------------------------------------------ reading

    def _read_head(self, data: bytes) -> None:
        limits = self.upgrades.group.limits
        known = len(self._data)
        if known:
            # Grows in place: a client that sends byte by byte must not cost the square.
            if not isinstance(self._data, bytearray):
                self._data = bytearray(self._data)
            self._data += data
        else:
            self._data = data
        end = self._data.find(HEAD_END, max(0, known - len(HEAD_END) + 1))
        if max(end, 0) > limits.head_bytes_max or (
            end < 0 and len(self._data) > limits.head_bytes_max
        ):
            self._answer(refusal(431))
        elif end >= 0:
            self._head_is_whole(bytes(self._data), end)
        elif has_bare_line_break(self._data[known - self._data.endswith(b"\r", 0, known) :]):
            self._refuse(HandshakeError("bare line break in the request head"))

    def _head_is_whole(self, data: bytes, end: int) -> None:
        self.upgrades.reading.pop(self, None)
        if len(self.upgrades.group.live) > self.upgrades.group.limits.max_connections:
            self._answer(_TOO_MANY)
            return
        try:
            upgrade = _upgrade_of(data[:end])
        except HandshakeError as error:
            self._refuse(error)
            return
        if upgrade is None:
            self._hand_to_http(data)
        else:
            self._data = data[end + len(HEAD_END) :]
            self._decide(upgrade)

    def _head_too_late(self) -> None:
        # A connection opened ahead of need and never used is no error; browsers do that.
        if self._data:
            self._answer(refusal(408))
        else:
            self._transport.abort()

    def _hand_to_http(self, data: bytes) -> None:
        self._leave()
        protocol = KeepAliveHttp(
            self._config, self._server_state, self._app_state, limits=self.upgrades.group.limits
        )
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(data)

    # ------------------------------------------------------------ deciding

    def _decide(self, upgrade: _Upgrade) -> None:
        if upgrade.head.path not in self.upgrades.paths:
            self._conclude(upgrade, _NO_SUCH_PATH)
            return
        self._state = _State.DECIDING
        self._clear_deadline()
        try:
            decision = self.upgrades.acceptor(self._request(upgrade.head))
        except Exception:  # an edge: this connection ends, all others go on
            _logger.exception("an upgrade was not decided on")
            decision = _NOT_DECIDED
        if inspect.isawaitable(decision):
            waiting = self._wait_for_decision(upgrade, decision)
            self._task = task = self.upgrades.group.loop.create_task(waiting)
            self.upgrades.tasks.add(task)
            task.add_done_callback(self.upgrades.tasks.discard)
            self._bound_what_waits()
        else:
            self._conclude(upgrade, decision)

    def _bound_what_waits(self) -> None:
        if len(self._data) > self.upgrades.group.limits.head_bytes_max:
            self._transport.abort()

    def _request(self, head: RequestHead) -> UpgradeRequest:
        info: Any = self._transport.get_extra_info("peername")
        peer = str(info[0]) if info else ""
        headers, proxies = head.headers, self.upgrades.proxies
        return UpgradeRequest(
            path=head.path,
            query=parse_query(head.query),
            headers=headers,
            peer=proxies.client_address(peer, headers.get("x-forwarded-for", "")),
            host=proxies.host(peer, headers["host"], headers.get("x-forwarded-host", "")),
        )

    async def _wait_for_decision(self, upgrade: _Upgrade, decision: Awaitable[Decision]) -> None:
        try:
            async with asyncio.timeout(self.upgrades.group.limits.accept_timeout_s):
                answer = await decision
        except TimeoutError:
            _logger.warning("an upgrade was not decided on in time")
            answer = _NOT_DECIDED
        except Exception:  # an edge: this connection ends, all others go on
            _logger.exception("an upgrade was not decided on")
            answer = _NOT_DECIDED
        self._task = None
        if self._state is _State.DECIDING:
            self._conclude(upgrade, answer)

    def _conclude(self, upgrade: _Upgrade, decision: Decision) -> None:
        if isinstance(decision, Grant):
            self._hand_to_websocket(upgrade, decision.accept, decision.group)
            return
        if not isinstance(decision, Refusal):
            self._hand_to_websocket(upgrade, decision, self.upgrades.group)
            return
        response = refusal(decision.status, decision.body)
        if decision.delay_s > 0:
            self._state = _State.DECIDING
            self._set_deadline(decision.delay_s, self._answer, response)
        else:
            self._answer(response)

    def _hand_to_websocket(self, upgrade: _Upgrade, accept: Accept, group: SocketGroup) -> None:
        self._leave()
        deflate = negotiate_deflate(upgrade.head.headers.get("sec-websocket-extensions", ""))
        transport = WebSocketTransport(
            group,
            self._transport,
            accepts_compressed=deflate is not None,
            supports_deflate=deflate is not None and deflate.sends_shared_frames,
        )
        self._transport.set_protocol(transport)
        self._transport.write(switching_protocols(upgrade.key, deflate))
        transport.open(accept)
        if self._data:
            transport.data_received(bytes(self._data))

    # ------------------------------------------------------------ answering

    def _refuse(self, error: HandshakeError) -> None:
        self._answer(
            refusal(
                error.status, str(error).encode(), content_type="text/plain", headers=error.headers
            )
        )

    def _answer(self, response: bytes) -> None:
        """Answer and close, reading on until the client has seen it or the deadline passes."""
        self._state = _State.ANSWERED
        self._data = b""
        self.upgrades.reading.pop(self, None)
        if self._task is not None:
            self._task.cancel()
        self._transport.write(response)
        self._set_deadline(self.upgrades.group.limits.close_timeout_s, self._transport.abort)
        finish_writing(self._transport)

    def _leave(self) -> None:
        self._state = _State.GONE
        self._clear_deadline()
        self.upgrades.reading.pop(self, None)
        self.upgrades.group.live.discard(self)

    def _set_deadline(self, delay_s: float, act: Any, *args: object) -> None:
        self._clear_deadline()
        self._deadline = self.upgrades.group.loop.call_later(delay_s, act, *args)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bound_sniffer(upgrades: Upgrades) -> type[Sniffer]:
    """The class that uvicorn builds for each connection of one server."""

    class BoundSniffer(Sniffer):
        __slots__ = ()

    BoundSniffer.upgrades = upgrades
    return BoundSniffer


def share_live(server_state: ServerState, live: set[Closable]) -> None:
    """Make `live` the set whose members uvicorn shuts down when it drains.

    It is typed as holding uvicorn's own protocols; all that is asked of a member is `shutdown`.
    """
    server_state.connections = cast("Any", live)


def _upgrade_of(head: bytes) -> _Upgrade | None:
    """The upgrade a head asks for; None when it is plain HTTP.

    Raises:
        HandshakeError: It asks for one and does so wrongly.
    """
    if has_bare_line_break(head):
        raise HandshakeError("bare line break in the request head")
    if not may_ask_upgrade(head):
        return None
    parsed = parse_head(head)
    return _Upgrade(check_upgrade(parsed), parsed) if asks_websocket(parsed) else None
