"""Broadcasts: from a channel's push to the rooms of all nodes."""

from __future__ import annotations

from tidewire.core.errors import BrokerUnavailableError
from tidewire.core.message import Message
from tidewire.engine.channel import Channel
from tidewire.engine.stats import Stats
from tidewire.ports.broker import Broker
from tidewire.ports.channel_authorizer import Right
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame


class Broadcasts:
    """Takes broadcast pushes and hands them to the broker.

    An accepted push is acknowledged when the channel asked for it; the acknowledgement says
    that the server took the message, not that anybody received it (wire specification 4.2).
    """

    __slots__ = ("_broker", "_payload_bytes_max", "_stats")

    def __init__(self, broker: Broker, stats: Stats, payload_bytes_max: int) -> None:
        self._broker = broker
        self._stats = stats
        self._payload_bytes_max = payload_bytes_max

    def push(self, channel: Channel, frame: ClientFrame) -> None:
        """Send a push on, or refuse it."""
        refusal = self._publish(channel, frame)
        if refusal:
            self._stats.broadcasts_refused_total += 1
        else:
            self._stats.broadcasts_total += 1
        if channel.acknowledges:
            answer = payloads.reply_error({"error": refusal}) if refusal else payloads.OK
            channel.peer.send(
                frame.topic, "phx_reply", answer, join_ref=channel.join_ref, ref=frame.ref
            )

    def _publish(self, channel: Channel, frame: ClientFrame) -> str:
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
                channel.room.key, binary.event, body, encoding=binary.encoding, sender=sender
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
