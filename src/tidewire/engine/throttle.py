"""What one sender may send how fast, and what it is told when that is too fast.

Whoever is over a limit on messages is slowed: its socket is not read for a while, so that what it
sends waits at its own side and nothing is lost. Only when it owes more than that can pay back is
a message refused. Either way its channel stays open, and nobody else is touched. Joins are
refused at once, tracks are put off (`engine.presence`).

There are three scopes: a channel, its connection, and the node. A limit that is off has no meter.
What is asked per message costs about 0.2 µs a meter. The time is when the message's
bytes came, which the transport knows already.

Source: wire specification 3.5, 3.8, 8. There a channel is closed for it, the recipients' too.
"""

from __future__ import annotations

from tidewire.core.clock import Clock
from tidewire.core.rate_limit import REFUSED, Meter, Rates, rates
from tidewire.engine.channel import Channel, Peer
from tidewire.engine.limits import Limits
from tidewire.engine.stats import Stats
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame

TOLD_EVERY_S = 1.0
"""How often a channel is told at most that it sends too fast."""


class Throttle:
    """The limits on rates of one node."""

    __slots__ = (
        "_channel",
        "_channel_tracks",
        "_clock",
        "_connection",
        "_connection_joins",
        "_connection_tracks",
        "_has_messages",
        "_node",
        "_node_joins",
        "_node_tracks",
        "_stats",
    )

    def __init__(self, limits: Limits, stats: Stats, clock: Clock) -> None:
        burst_s = limits.burst_s
        self._stats = stats
        self._clock = clock
        self._channel = rates(
            limits.channel_messages_per_s,
            bytes_per_s=limits.channel_bytes_per_s,
            burst_s=burst_s,
        )
        self._connection = rates(
            limits.connection_messages_per_s,
            bytes_per_s=limits.connection_bytes_per_s,
            burst_s=burst_s,
        )
        self._node = _meter(
            rates(limits.messages_per_s, bytes_per_s=limits.bytes_per_s, burst_s=burst_s)
        )
        self._has_messages = any(
            limit is not None for limit in (self._channel, self._connection, self._node)
        )
        self._connection_joins = rates(limits.connection_joins_per_s, burst_s=burst_s)
        self._node_joins = _meter(rates(limits.joins_per_s, burst_s=burst_s))
        self._channel_tracks = rates(limits.channel_presence_per_s, burst_s=burst_s)
        self._connection_tracks = rates(limits.connection_presence_per_s, burst_s=burst_s)
        self._node_tracks = _meter(rates(limits.presence_per_s, burst_s=burst_s))

    # ------------------------------------------------------------ messages

    def admits(self, channel: Channel, frame: ClientFrame) -> bool:
        """Whether a push may be carried out; when not, its sender has been told."""
        if not self._has_messages:
            return True
        binary = frame.broadcast
        size = len(frame.payload if binary is None else binary.body)
        peer = channel.peer
        now_s = peer.transport.last_heard_s
        owed_s = 0.0
        cause: Meter | None = None
        if self._channel is not None:
            if channel.meter is None:
                channel.meter = Meter(self._channel)
            cause, owed_s = channel.meter, channel.meter.take(now_s, size)
        if self._connection is not None and owed_s != REFUSED:
            if peer.meter is None:
                peer.meter = Meter(self._connection)
            more_s = peer.meter.take(now_s, size)
            if more_s > owed_s:
                cause, owed_s = peer.meter, more_s
        if self._node is not None and owed_s != REFUSED:
            more_s = self._node.take(now_s, size)
            if more_s > owed_s:
                cause, owed_s = self._node, more_s
        if owed_s == 0.0 or cause is None:
            return True
        return self._slow(channel, frame, cause, owed_s)

    def _slow(self, channel: Channel, frame: ClientFrame, cause: Meter, owed_s: float) -> bool:
        """Hold the sender back and tell it; gives whether its message is taken all the same."""
        transport = channel.peer.transport
        transport.hold(owed_s)
        is_taken = owed_s != REFUSED
        if is_taken:
            self._stats.messages_slowed_total += 1
        else:
            self._stats.messages_over_limit_total += 1
        if not is_taken and channel.acknowledges and frame.event == "broadcast":
            channel.peer.send(
                frame.topic,
                "phx_reply",
                payloads.reply_error({"error": codes.RATE_LIMIT_REACHED}),
                join_ref=channel.join_ref,
                ref=frame.ref,
            )
            return False
        now_s = transport.last_heard_s
        if now_s - channel.told_s >= TOLD_EVERY_S:
            channel.told_s = now_s
            is_bytes = cause.owes_bytes(now_s)
            message = codes.TOO_MANY_BYTES if is_bytes else codes.TOO_MANY_MESSAGES
            channel.push_notice(message, codes.MESSAGES_LIMIT_REACHED)
        return is_taken

    # ------------------------------------------------------------ joins

    def admits_join(self, peer: Peer) -> bool:
        """Whether one more join may be carried out now."""
        now_s = self._clock.monotonic_s()
        if self._connection_joins is not None and peer.join_meter is None:
            peer.join_meter = Meter(self._connection_joins)
        return _take_all((peer.join_meter, self._node_joins), now_s)

    @property
    def has_room_for_joins(self) -> bool:
        """Whether the node takes joins now; when not, connections need not begin."""
        meter = self._node_joins
        return meter is None or meter.wait_s(self._clock.monotonic_s()) == 0.0

    # ------------------------------------------------------------ tracks

    def take_track(self, channel: Channel) -> float:
        """Take one track, or give the seconds until it may be tried again."""
        now_s = self._clock.monotonic_s()
        peer = channel.peer
        if self._channel_tracks is not None and channel.track_meter is None:
            channel.track_meter = Meter(self._channel_tracks)
        if self._connection_tracks is not None and peer.track_meter is None:
            peer.track_meter = Meter(self._connection_tracks)
        meters = (channel.track_meter, peer.track_meter, self._node_tracks)
        if _take_all(meters, now_s):
            return 0.0
        return max(meter.wait_s(now_s) for meter in meters if meter is not None)


def _meter(limit: Rates | None) -> Meter | None:
    return Meter(limit) if limit is not None else None


def _take_all(meters: tuple[Meter | None, ...], now_s: float) -> bool:
    """Take one of each, or nothing of any when one of them has none left."""
    present = [meter for meter in meters if meter is not None]
    if any(meter.wait_s(now_s) > 0 for meter in present):
        return False
    for meter in present:
        meter.take(now_s)
    return True
