"""Presence: who is on a topic, told to everyone there.

Theory of operation. Each channel tracks at most one meta under its key. The store turns tracks
and untracks into diffs; diffs of one loop turn go out as one presence_diff per topic. A channel
that ends with a leave or a close with 1000 or 1001 is gone at once. One whose connection just
broke lingers for the grace: when a channel with the same key tracks again before it ends, its meta
replaces the lingering one in one diff, so the others see no flicker.

Source: wire specification 5; promise 5 of the design.
"""

from __future__ import annotations

import asyncio

from tidewire.core.clock import Clock
from tidewire.core.presence_state import PresenceDiff, PresenceMeta
from tidewire.engine.channel import Channel
from tidewire.engine.fanout import push_frame
from tidewire.engine.hub import Hub
from tidewire.ports.presence_store import PresenceStore
from tidewire.protocol.phoenix import payloads

_Metas = dict[str, list[PresenceMeta]]


class Presence:
    """Presence of this node's channels."""

    __slots__ = (
        "_clock",
        "_grace_s",
        "_hub",
        "_lingering",
        "_loop",
        "_node",
        "_pending",
        "_present",
        "_refs",
        "_store",
    )

    def __init__(
        self,
        store: PresenceStore,
        hub: Hub,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        node: str,
        grace_s: float,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._loop = loop
        self._node = node
        self._grace_s = grace_s
        self._refs = 0
        self._present: dict[Channel, None] = {}
        # (topic key, presence key) -> (end of grace, ref) of channels whose connection broke.
        self._lingering: dict[tuple[str, str], list[tuple[float, str]]] = {}
        self._pending: dict[str, tuple[_Metas, _Metas]] = {}
        store.listen(self._on_diff)

    def channels(self) -> list[Channel]:
        """Channels that show something now."""
        return list(self._present)

    def send_state(self, channel: Channel) -> None:
        """Send presence_state; what went out before it is part of it."""
        assert channel.room is not None
        self._send_diff(channel.room.key)
        state = self._store.state(channel.room.key)
        channel.sends_presence_state = True
        channel.push("presence_state", payloads.presence_map(state))

    def track(self, channel: Channel, payload: bytes) -> None:
        """Show `payload`, a JSON object, under the channel's key, in place of what it showed."""
        assert channel.room is not None
        before = channel.presence
        if before is not None and before.payload == payload:
            return
        previous = before.ref if before else self._take_lingering(channel)
        self._refs += 1
        meta = PresenceMeta(f"{self._node}.{self._refs:x}", payload, previous)
        channel.presence = meta
        self._present[channel] = None
        self._store.track(channel.room.key, channel.presence_key, meta)

    def untrack(self, channel: Channel) -> None:
        """Show nothing more for this channel."""
        if channel.presence is not None and channel.room is not None:
            self._store.untrack(channel.room.key, channel.presence_key, channel.presence.ref)
            channel.presence = None
            self._present.pop(channel, None)

    def release(self, channel: Channel, *, may_return: bool) -> None:
        """The channel ended: it leaves at once, or lingers because it may come back."""
        if not may_return or self._grace_s <= 0:
            self.untrack(channel)
            return
        if channel.presence is None or channel.room is None:
            return
        place = (channel.room.key, channel.presence_key)
        end_s = self._clock.monotonic_s() + self._grace_s
        self._lingering.setdefault(place, []).append((end_s, channel.presence.ref))
        channel.presence = None
        self._present.pop(channel, None)

    def end_grace(self) -> None:
        """Let go of those who did not come back in time; to be called a few times a second."""
        now_s = self._clock.monotonic_s()
        for place, waiting in list(self._lingering.items()):
            stay = [entry for entry in waiting if entry[0] > now_s]
            for end_s, ref in waiting:
                if end_s <= now_s:
                    self._store.untrack(place[0], place[1], ref)
            if stay:
                self._lingering[place] = stay
            else:
                del self._lingering[place]

    def _take_lingering(self, channel: Channel) -> str:
        """The ref of a broken connection's meta under the same key, or ""."""
        assert channel.room is not None
        place = (channel.room.key, channel.presence_key)
        waiting = self._lingering.get(place)
        if not waiting:
            return ""
        _, ref = waiting.pop(0)
        if not waiting:
            del self._lingering[place]
        return ref

    def _on_diff(self, topic: str, diff: PresenceDiff) -> None:
        pending = self._pending.get(topic)
        if pending is None:
            pending = self._pending[topic] = ({}, {})
            self._loop.call_soon(self._send_diff, topic)
        for into, metas in zip(pending, (diff.joins, diff.leaves), strict=True):
            for key, of_key in metas.items():
                into.setdefault(key, []).extend(of_key)

    def _send_diff(self, topic: str) -> None:
        pending = self._pending.pop(topic, None)
        room = self._hub.find(topic)
        if pending is None or room is None:
            return
        joins, leaves = ({key: tuple(of) for key, of in metas.items()} for metas in pending)
        payload = payloads.presence_diff(PresenceDiff(joins, leaves))
        room.offer_presence(push_frame(room.topic.wire_name, "presence_diff", payload))
