"""Broadcasts: from a channel's push to the rooms of all nodes."""

from __future__ import annotations

import msgspec

from tidewire.core.errors import BrokerUnavailableError, InvalidPersistenceError
from tidewire.core.message import Message
from tidewire.engine.channel import Channel
from tidewire.engine.persistence import Persistence
from tidewire.engine.stats import Stats
from tidewire.engine.tasks import TaskSet
from tidewire.ports.broker import Broker
from tidewire.ports.channel_authorizer import Right
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame
from tidewire.protocol.phoenix.persistence import ttl_of_metadata


class _Kept(msgspec.Struct, frozen=True):
    """What becomes of a push besides being sent.

    Attributes:
        row_id: Of the row that it becomes; "" for none.
        ttl_s: For how long it may be replayed.
        refusal: Why it is not even sent; "" when it is.
    """

    row_id: str = ""
    ttl_s: int = 0
    refusal: str = ""


_NOT_KEPT = _Kept()


class Broadcasts:
    """Takes broadcast pushes and hands them to the broker.

    An accepted push is acknowledged when the channel asked for it; the acknowledgement says
    that the server took the message, not that anybody received it (wire specification 4.2).
    """

    __slots__ = ("_broker", "_payload_bytes_max", "_persistence", "_stats", "_tasks")

    def __init__(
        self, broker: Broker, stats: Stats, persistence: Persistence, *, payload_bytes_max: int
    ) -> None:
        self._broker = broker
        self._stats = stats
        self._persistence = persistence
        self._tasks = TaskSet()
        self._payload_bytes_max = payload_bytes_max

    def push(self, channel: Channel, frame: ClientFrame) -> None:
        """Send a push on, or refuse it; one that is kept is acknowledged when it is."""
        kept = self._kept(channel, frame)
        refusal = kept.refusal or self._publish(channel, frame, kept.row_id)
        if refusal:
            self._stats.broadcasts_refused_total += 1
        else:
            self._stats.broadcasts_total += 1
        if kept.row_id and not refusal:
            self._tasks.spawn(self._keep(channel, frame, kept), "keep a broadcast")
        elif channel.acknowledges:
            answer = payloads.reply_error({"error": refusal}) if refusal else payloads.OK
            _acknowledge(channel, frame, answer)

    def _kept(self, channel: Channel, frame: ClientFrame) -> _Kept:
        """Whether a push is kept (4.11): on private channels, by a right of its own."""
        assert channel.room is not None
        if frame.broadcast is None or not frame.broadcast.metadata:
            return _NOT_KEPT
        try:
            ttl_s = ttl_of_metadata(frame.broadcast.metadata)
        except InvalidPersistenceError as error:
            return _Kept(refusal=error.code)
        if ttl_s is None or not channel.room.topic.private:
            return _NOT_KEPT
        if channel.refusal_of(Right.WRITE_PERSISTENCE):
            return _NOT_KEPT
        return _Kept(self._persistence.new_id(), ttl_s)

    async def _keep(self, channel: Channel, frame: ClientFrame, kept: _Kept) -> None:
        binary, room = frame.broadcast, channel.room
        assert binary is not None
        assert room is not None
        is_kept = await self._persistence.keep(
            kept.row_id,
            room.topic.sub_topic,
            binary.event,
            binary.body,
            binary.encoding,
            ttl_s=kept.ttl_s,
        )
        if channel.acknowledges and channel.is_open:
            answer = payloads.reply_ok(payloads.row_meta(kept.row_id)) if is_kept else payloads.OK
            _acknowledge(channel, frame, answer)

    async def close(self) -> None:
        """Give up what waits to be kept."""
        await self._tasks.close()

    def _publish(self, channel: Channel, frame: ClientFrame, row_id: str) -> str:
        """Publish; "" or why not."""
        assert channel.room is not None
        refusal = channel.refusal_of(Right.WRITE_BROADCAST)
        if refusal:
            self._stats.pushes_unauthorized_total += 1
            return refusal
        sender = "" if channel.hears_itself else channel.peer.id
        binary = frame.broadcast
        body = frame.payload if binary is None else binary.body
        if len(body) > self._payload_bytes_max:
            return codes.PAYLOAD_TOO_LARGE
        if binary is not None:
            message = Message(
                channel.room.key,
                binary.event,
                body,
                encoding=binary.encoding,
                meta=payloads.row_meta(row_id) if row_id else b"",
                sender=sender,
                row_id=row_id,
            )
        elif body.startswith(b"{"):
            message = Message(channel.room.key, "", body, is_envelope=True, sender=sender)
        else:
            return codes.PAYLOAD_NOT_AN_OBJECT
        try:
            self._broker.publish(message)
        except BrokerUnavailableError as error:
            return error.code
        return ""


def _acknowledge(channel: Channel, frame: ClientFrame, answer: bytes) -> None:
    channel.peer.send(frame.topic, "phx_reply", answer, join_ref=channel.join_ref, ref=frame.ref)
