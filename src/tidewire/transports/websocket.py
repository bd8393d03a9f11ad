"""One WebSocket connection over asyncio.

Theory of operation. A `WebSocketTransport` is an asyncio protocol that takes a socket over once
the handshake is answered. It is cheap while idle: slots, no task, no timer, no logger of its own.

Its life:

    OPEN ─ close() ─────────────► CLOSING ─ the peer's close frame ─► ENDED
    OPEN ─ peer's close frame, broken rule, end of its bytes, abort ► ENDED
    any  ─ the socket is gone ──────────────────────────────────────► LOST

ENDED: the engine is told, our side of the socket is shut behind the last byte, and what still
comes is thrown away until the peer shuts its side too. Closing the socket right away instead would
answer unread bytes with a reset, and a reset destroys the close frame on its way. CLOSING and
ENDED each have a deadline, after which the socket is cut.

Flow. `write` is the socket's own write while all is well and is exchanged when it is not, so that
a write never raises and costs no step in between; callers take it from here each time. asyncio
tells of a full buffer through `pause_writing`, from within a write. From then on writes pass
`_write_slowly`, which cuts the peer off at a fifth of the limit more. That spares a healthy peer
one message longer than the limit, and bounds what a stalled one can hold. The receiver is
told, so that it writes less from then on; a peer that reads nothing at all for `drain_timeout_s`
is cut off. Bytes that leave the buffer count as a sign of life: a pong may be far behind them.

The other way round, `hold` reads nothing from a peer for a moment, so that what it sends waits on
its own side.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from tidewire.ports.transport import Accept, MessageReceiver, Write
from tidewire.protocol.websocket import close_codes
from tidewire.protocol.websocket.frames import close_frame, ping_frame, pong_frame
from tidewire.protocol.websocket.receiver import FrameReceiver
from tidewire.transports.limits import SocketLimits

_logger = logging.getLogger(__name__)

_PING = ping_frame()
HOLD_MAX_S = 1.0
"""Longest time for which a peer is not read: well below what makes it look half-open."""

_LOOK_S = 0.5
"""How often it is looked whether a slow peer reads."""

PONGS_PER_TURN_MAX = 32
"""Pings answered one by one in one turn of the loop; of more, only the last (RFC 6455 5.5.3)."""


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    ENDED = enum.auto()
    LOST = enum.auto()


class Closable(Protocol):
    """Something a draining server shuts down."""

    def shutdown(self) -> None:
        """Begin to close, politely."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class SocketGroup:
    """What all WebSocket connections of one server share.

    Attributes:
        limits: Their bounds.
        loop: The loop they live on.
        live: Everything to shut down when the server drains; each adds and removes itself.
        on_slow_consumer: Called once per peer cut off because it did not read.
    """

    __slots__ = ("limits", "live", "loop", "on_slow_consumer")

    def __init__(
        self,
        limits: SocketLimits,
        *,
        loop: asyncio.AbstractEventLoop,
        live: set[Closable],
        on_slow_consumer: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.loop = loop
        self.live = live
        self.on_slow_consumer = on_slow_consumer


def _discard(data: bytes, /) -> None:
    """Take the place of `write` when nothing can be sent any more."""


def _ignore(payload: bytes, is_text: bool) -> None:  # noqa: FBT001 - shape of message_received
    """Take the place of `message_received` when nobody listens any more."""


class WebSocketTransport(FrameReceiver, asyncio.Protocol):
    """Implements `ports.transport.Transport`.

    Attributes:
        supports_deflate: Whether prebuilt compressed frames may be written.
        last_heard_s: When anything last came from the peer, by the loop's clock.
        write: Takes prebuilt frames; exchanged as the connection's state changes.
    """

    __slots__ = (
        "_deadline",
        "_group",
        "_held_until_s",
        "_hold",
        "_last_ping",
        "_pongs",
        "_read_s",
        "_receiver",
        "_state",
        "_transport",
        "_unread_bytes",
        "last_heard_s",
        "supports_deflate",
        "write",
    )

    def __init__(
        self,
        group: SocketGroup,
        transport: asyncio.Transport,
        *,
        accepts_compressed: bool,
        supports_deflate: bool,
    ) -> None:
        """Take over a socket whose handshake is answered."""
        super().__init__(
            max_message_bytes=group.limits.max_message_bytes,
            accepts_compressed=accepts_compressed,
        )
        self._group = group
        self._transport = transport
        self._receiver: MessageReceiver | None = None
        self._state = _State.OPEN
        self._deadline: asyncio.TimerHandle | None = None
        self._pongs = 0
        self._last_ping: bytes | None = None
        self._hold: asyncio.TimerHandle | None = None
        self._held_until_s = 0.0
        self._unread_bytes = 0
        self._read_s = 0.0
        self.supports_deflate = supports_deflate
        self.last_heard_s = group.loop.time()
        self.write: Write = transport.write
        self.on_message = _ignore
        group.live.add(self)
        transport.set_write_buffer_limits(high=group.limits.write_buffer_bytes)

    def open(self, accept: Accept) -> None:
        """Give the connection to its receiver; call once, before any data."""
        try:
            self._receiver = receiver = accept(self)
        except Exception:  # an edge: this connection ends, all others go on
            _logger.exception("a new connection was not taken")
            self.close(close_codes.INTERNAL_ERROR)
            return
        if self._state is _State.OPEN:
            self.on_message = receiver.message_received

    # ------------------------------------------------------------ what the engine calls

    def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame. A second call is fine."""
        if self._state is _State.OPEN:
            self._say_last(close_frame(code, reason))
            self._state = _State.CLOSING
            self._set_deadline(self._group.limits.close_timeout_s)

    def abort(self) -> None:
        """End the connection at once, without a close frame."""
        if self._state is not _State.LOST:
            self._state = _State.ENDED
            self._silence()
            self._transport.abort()

    def ping(self) -> None:
        """Ask the peer for a sign of life; the answer moves `last_heard_s`."""
        self.write(_PING)

    def hold(self, delay_s: float) -> None:
        """Read nothing from the peer for a while; what was read already is still handed over."""
        now_s = self._group.loop.time()
        self._held_until_s = max(self._held_until_s, now_s + min(delay_s, HOLD_MAX_S))
        if self._hold is None and self._state is _State.OPEN and not self._transport.is_closing():
            self._transport.pause_reading()
            self._hold = self._group.loop.call_at(self._held_until_s, self._end_hold)

    # ------------------------------------------------------------ what the server calls

    def shutdown(self) -> None:
        """The server drains: tell the peer to come back later."""
        self.close(close_codes.SERVICE_RESTART)

    # ------------------------------------------------------------ what asyncio calls

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.last_heard_s = self._group.loop.time()
        try:
            self.receive(data)
        except Exception:  # an edge: this connection ends, all others go on
            _logger.exception("a message was not taken")
            self._ended = True
            self.on_fail(close_codes.INTERNAL_ERROR, "")

    def eof_received(self) -> None:
        """The peer shut its side; asyncio closes ours once everything is written."""
        self._silence()
        self._state = _State.ENDED
        self._set_deadline(self._group.limits.close_timeout_s)
        self._tell_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._state = _State.LOST
        self._silence()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._hold is not None:
            self._hold.cancel()
        self._group.live.discard(self)
        self._tell_lost(None)

    def pause_writing(self) -> None:
        """The buffer passed its limit; called from within a write."""
        if self._state is _State.OPEN:
            limits = self._group.limits
            most = self._transport.get_write_buffer_size() + limits.write_buffer_bytes // 5
            self.write = partial(self._write_slowly, most)
            self._unread_bytes = self._transport.get_write_buffer_size()
            self._read_s = self._group.loop.time()
            self._set_deadline(self._look_s, self._look_whether_it_reads)
            if self._receiver is not None:
                self._receiver.writing_paused()

    def resume_writing(self) -> None:
        """The buffer is well below its limit again."""
        if self._state is _State.OPEN:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self.write = self._transport.write
            if self._receiver is not None:
                self._receiver.writing_resumed()

    # ------------------------------------------------------------ what FrameReceiver calls

    def on_ping(self, payload: bytes) -> None:
        """Answer; in a flood of pings only the last of a turn after the first few."""
        if self._pongs == 0:
            self._group.loop.call_soon(self._end_ping_turn)
        self._pongs += 1
        if self._pongs <= PONGS_PER_TURN_MAX:
            self.write(pong_frame(payload))
        else:
            self._last_ping = payload

    def on_close(self, code: int) -> None:
        """Answer the peer's close frame, or take it as the answer to ours."""
        if self._state is _State.OPEN:
            self._say_last(close_frame(None if code == close_codes.NO_STATUS else code))
        self._end()
        self._tell_lost(code)

    def on_fail(self, code: int, reason: str) -> None:
        """Tell the peer which rule it broke."""
        if self._state is _State.OPEN:
            self._say_last(close_frame(code, reason))
        self._end()
        self._tell_lost(None)

    # ------------------------------------------------------------ steps

    def _say_last(self, frame: bytes) -> None:
        """Send our close frame; after it nothing may be sent, and no message counts."""
        self._silence()
        self._transport.write(frame)

    def _silence(self) -> None:
        self.write = _discard
        self.on_message = _ignore

    def _end(self) -> None:
        self._state = _State.ENDED
        self._set_deadline(self._group.limits.close_timeout_s)
        finish_writing(self._transport)

    def _tell_lost(self, close_code: int | None) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(close_code)

    def _set_deadline(self, delay_s: float, act: Callable[[], None] | None = None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._group.loop.call_later(delay_s, act or self._transport.abort)

    def _write_slowly(self, most: int, data: bytes, /) -> None:
        """Stand in for `write` while the buffer is over its limit."""
        if self._transport.get_write_buffer_size() + len(data) <= most:
            self._unread_bytes += len(data)
            self._transport.write(data)
        else:
            # Not here: the caller may be walking over its connections.
            self._silence()
            self._group.loop.call_soon(self._cut_slow)

    @property
    def _look_s(self) -> float:
        return min(_LOOK_S, self._group.limits.drain_timeout_s / 2)

    def _look_whether_it_reads(self) -> None:
        """Give a slow peer time as long as it reads; the buffer shrinks only by its reading."""
        now_s = self._group.loop.time()
        size = self._transport.get_write_buffer_size()
        if size < self._unread_bytes:
            self._unread_bytes = size
            self._read_s = self.last_heard_s = now_s
        if now_s - self._read_s >= self._group.limits.drain_timeout_s:
            self._cut_slow()
        elif self._state is _State.OPEN:
            self._set_deadline(self._look_s, self._look_whether_it_reads)

    def _end_hold(self) -> None:
        self._hold = None
        loop = self._group.loop
        if loop.time() < self._held_until_s:
            self._hold = loop.call_at(self._held_until_s, self._end_hold)
        elif self._state is not _State.LOST and not self._transport.is_closing():
            self._transport.resume_reading()

    def _cut_slow(self) -> None:
        if self._state is not _State.OPEN:
            return
        _logger.warning(
            "slow consumer cut off",
            extra={
                "peer": self._transport.get_extra_info("peername"),
                "buffered_bytes": self._transport.get_write_buffer_size(),
            },
        )
        self._group.on_slow_consumer()
        self.abort()

    def _end_ping_turn(self) -> None:
        self._pongs = 0
        payload, self._last_ping = self._last_ping, None
        if payload is not None:
            self.write(pong_frame(payload))


def finish_writing(transport: asyncio.Transport) -> None:
    """Close our side once everything is written; the peer's where the kernel allows no halves.

    TLS has no half-closed state here, so such a transport closes whole.
    """
    if transport.is_closing():
        return
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()
