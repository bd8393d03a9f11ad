"""One socket's session: reads a client's frames and has each carried out.

A frame that is none is dropped and counted; the connection stays open (wire specification 1.8).
An error in carrying one out is logged, answered and ends there: nobody else's connection sees it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol, cast

import msgspec

from tidewire.core.errors import ProtocolViolationError
from tidewire.core.rate_limit import Meter
from tidewire.engine.broadcast import Broadcasts
from tidewire.engine.channel import Channel, held_bytes
from tidewire.engine.fanout import lane_of
from tidewire.engine.join import Joins
from tidewire.engine.lagging import Laggards
from tidewire.engine.limits import Limits
from tidewire.engine.presence import Presence
from tidewire.engine.rights import NO_HEADERS, Rights
from tidewire.engine.stats import Stats
from tidewire.engine.throttle import Throttle
from tidewire.engine.token_refresh import TokenRefreshes
from tidewire.ports.channel_authorizer import Right
from tidewire.ports.token_verifier import Claims
from tidewire.ports.transport import Transport
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import HEARTBEAT_TOPIC, ClientFrame
from tidewire.protocol.phoenix.serializer import Serializer
from tidewire.protocol.websocket.frames import text_frame

logger = logging.getLogger(__name__)

# Closes by which a client says that it means to go (promise 5 of the design).
_CLOSES_AT_ONCE = frozenset({1000, 1001})


class Desk(Protocol):
    """What connections share: the node's parts that carry frames out.

    Attributes:
        joins: Lets channels in and out.
        broadcasts: Takes broadcast pushes.
        presence: Tracks and untracks.
        rights: Keeps what private channels may do.
        token_refreshes: Puts new tokens in force.
        stats: Counts.
        limits: Bounds of what is tracked.
        laggards: Those who read too slowly.
        throttle: Limits on how fast things come.
    """

    joins: Joins
    broadcasts: Broadcasts
    presence: Presence
    rights: Rights
    token_refreshes: TokenRefreshes
    stats: Stats
    limits: Limits
    laggards: Laggards
    throttle: Throttle

    def closed(self, connection: Connection) -> None:
        """The connection ended."""
        ...


class Connection:
    """One socket's session; a `ports.transport.MessageReceiver`."""

    __slots__ = (
        "_desk",
        "_serializer",
        "channels",
        "claims",
        "fell_silent",
        "id",
        "join_meter",
        "joining",
        "lane",
        "meter",
        "policy_headers",
        "sends_join_refs",
        "token",
        "track_meter",
        "transport",
    )

    def __init__(
        self,
        desk: Desk,
        transport: Transport,
        serializer: Serializer,
        *,
        name: str,
        claims: Claims,
        token: str,
        policy_headers: str = NO_HEADERS,
    ) -> None:
        self._desk = desk
        self._serializer = serializer
        self.transport = transport
        self.id = name
        self.claims = claims
        self.token = token
        self.policy_headers = policy_headers
        self.sends_join_refs = serializer.version > 1
        self.lane = lane_of(serializer.version, deflate=transport.supports_deflate)
        self.channels: dict[str, Channel] = {}
        self.joining: dict[str, asyncio.Task[None]] = {}
        self.fell_silent = False
        self.meter: Meter | None = None
        self.join_meter: Meter | None = None
        self.track_meter: Meter | None = None

    def message_received(self, payload: bytes, is_text: bool) -> None:  # noqa: FBT001 - see the port
        """Carry out one message from the client."""
        try:
            frame = self._serializer.decode(payload, is_text)
        except ProtocolViolationError:
            self._desk.stats.malformed_total += 1
            logger.debug("MalformedWebSocketMessage", extra={"connection": self.id})
            return
        self._desk.stats.messages_in_total += 1
        self._carry_out_safely(frame)

    def connection_lost(self, close_code: int | None) -> None:
        """End every channel; presence lingers unless the client meant to go."""
        for task in list(self.joining.values()):
            task.cancel()
        self.joining.clear()
        self._desk.laggards.forget(self)
        may_return = close_code not in _CLOSES_AT_ONCE and not self.fell_silent
        for channel in list(self.channels.values()):
            self._desk.joins.end(channel, may_return=may_return)
        self._desk.closed(self)

    def writing_paused(self) -> None:
        """Let what comes for this client be conflated."""
        self._desk.laggards.paused(self)

    def writing_resumed(self) -> None:
        """Let it catch up."""
        self._desk.laggards.resumed(self)

    def send(self, topic: str, event: str, payload: bytes, *, join_ref: bytes, ref: bytes) -> None:
        """Send one text frame."""
        frame = self._serializer.encode(topic, event, payload, join_ref=join_ref, ref=ref)
        self.transport.write(text_frame(frame))

    def carry_out(self, frames: Sequence[ClientFrame]) -> None:
        """Carry out pushes that waited, in their order."""
        for frame in frames:
            self._carry_out_safely(frame)

    def _carry_out_safely(self, frame: ClientFrame) -> None:
        try:
            self._carry_out(frame)
        except Exception:  # this is the edge of one connection: log, and keep the others alive
            logger.exception("UnknownErrorOnWebSocketMessage", extra={"connection": self.id})

    def _carry_out(self, frame: ClientFrame) -> None:
        event = frame.event
        if frame.topic == HEARTBEAT_TOPIC:
            ok = event == "heartbeat"
            answer = payloads.OK if ok else payloads.reply_reason(codes.UNMATCHED_TOPIC)
            self._reply(frame, answer, join_ref=b"null")
        elif event == "phx_join":
            self._desk.joins.join(self, frame)
        elif event == "phx_leave":
            self._desk.joins.leave(self, frame)
        elif (channel := self.channels.get(frame.topic)) is None:
            self._reply(frame, payloads.reply_reason(codes.UNMATCHED_TOPIC), join_ref=b"null")
        elif channel.held is not None and event in ("broadcast", "presence"):
            self._desk.rights.hold(channel, frame)
        elif event == "broadcast":
            if self._desk.throttle.admits(channel, frame):
                self._desk.broadcasts.push(channel, frame)
        elif event == "presence":
            self._on_presence(channel, frame)
        elif event == "access_token":
            self._desk.throttle.admits(channel, frame)  # it counts, and is never refused
            self._on_access_token(channel, frame)
        else:
            self._desk.throttle.admits(channel, frame)  # unknown: counted, else ignored (3.11)

    def _on_presence(self, channel: Channel, frame: ClientFrame) -> None:
        """Track or untrack (wire specification 5.1)."""
        push = _decode_object(frame.payload)
        action = push.get("event")
        answer = payloads.OK
        if isinstance(action, str) and action.lower() == "track":
            answer = self._track(channel, frame.payload)
        elif isinstance(action, str) and action.lower() == "untrack":
            self._desk.presence.untrack(channel)
        elif action is not None:
            answer = payloads.reply_error({})
        if channel.is_open:
            self._reply(frame, answer, join_ref=channel.join_ref)

    def _track(self, channel: Channel, push: bytes) -> bytes:
        if channel.refusal_of(Right.WRITE_PRESENCE):
            self._desk.stats.pushes_unauthorized_total += 1
            return payloads.reply_error({})
        tracked = bytes(msgspec.json.decode(push, type=_TrackPush).payload)
        if not tracked.startswith(b"{"):
            return payloads.reply_reason(codes.PRESENCE_NOT_A_MAP)
        shown = len(channel.presence.payload) if channel.presence else 0
        growth = len(tracked) - shown
        keys_max = self._desk.limits.presence_keys_max
        if keys_max and len(msgspec.json.decode(tracked, type=dict[str, msgspec.Raw])) > keys_max:
            return payloads.reply_reason(codes.PRESENCE_TOO_MANY_KEYS)
        is_too_much = growth > 0 and held_bytes(self) + growth > self._desk.limits.held_bytes_max
        if is_too_much or len(tracked) > self._desk.limits.payload_bytes_max:
            return payloads.reply_reason(codes.TRACK_TOO_LARGE)
        self._desk.presence.track(channel, tracked)
        self._desk.stats.presence_total += 1
        self._desk.rights.want_presence(channel)
        if not channel.sends_presence_state and channel.hears_presence:
            self._desk.presence.send_state(channel)
        return payloads.OK

    def _on_access_token(self, channel: Channel, frame: ClientFrame) -> None:
        token = _decode_object(frame.payload).get("access_token")
        if isinstance(token, str):
            self._desk.token_refreshes.refresh(channel, token)

    def _reply(self, frame: ClientFrame, payload: bytes, *, join_ref: bytes) -> None:
        self.send(frame.topic, "phx_reply", payload, join_ref=join_ref, ref=frame.ref)


class _TrackPush(msgspec.Struct, gc=False):
    """A track push, as far as it is looked into."""

    payload: msgspec.Raw = msgspec.Raw(b"{}")


def _decode_object(payload: bytes) -> dict[str, Any]:
    """A push's payload as an object; anything else counts as an empty one."""
    decoded = msgspec.json.decode(payload) if payload else None
    return cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}
