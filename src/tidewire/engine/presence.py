"""Presence: who is on a topic, told to everyone there.

Theory of operation. Each channel tracks at most one meta under its key. The store turns tracks
and untracks into diffs; diffs of one loop turn go out as one presence_diff per topic. A channel
that ends with a leave or a close with 1000 or 1001 is gone at once. One whose connection just
broke lingers for the grace: when a channel with the same key tracks again before it ends, its meta
replaces the lingering one in one diff, so the others see no flicker. When it tracks the same as
before it takes the lingering meta over, and the others see nothing at all.

Tracks that come faster than the limit are put off; of those of one channel only the newest is
shown. Metas that came and went within one turn are left out of its diff.

Source: wire specification 5; promise 5 of the design.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tidewire.core.clock import Clock
from tidewire.core.presence_state import PresenceDiff, PresenceMeta, without_transients
from tidewire.engine.channel import Channel
from tidewire.engine.fanout import push_frame
from tidewire.engine.hub import Hub
from tidewire.engine.stats import Stats
from tidewire.engine.throttle import Throttle
from tidewire.ports.channel_authorizer import Right
from tidewire.ports.presence_store import PresenceStore
from tidewire.protocol.phoenix import payloads

_Metas = dict[str, list[PresenceMeta]]
_LOOK_MIN_S = 0.01


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
        "_stats",
        "_store",
        "_throttle",
        "_timer",
        "_waiting",
    )

    def __init__(
        self,
        store: PresenceStore,
        hub: Hub,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        node: str,
        throttle: Throttle,
        stats: Stats,
        grace_s: float,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._loop = loop
        self._node = node
        self._grace_s = grace_s
        self._throttle = throttle
        self._stats = stats
        # Newest track of each channel that was too fast, to be shown when its time comes.
        self._waiting: dict[Channel, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._refs = 0
        self._present: dict[Channel, None] = {}
        # (topic key, presence key) -> (end of grace, meta) of channels whose connection broke.
        self._lingering: dict[tuple[str, str], list[tuple[float, PresenceMeta]]] = {}
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
        """Show `payload`, a JSON object, under the channel's key, in place of what it showed.

        Over the limit on tracks it is shown later, unless another comes before.
        """
        if channel.presence is not None and channel.presence.payload == payload:
            self._waiting.pop(channel, None)
            return
        is_waiting = channel in self._waiting
        wait_s = 0.0 if is_waiting else self._throttle.take_track(channel)
        if is_waiting or wait_s > 0:
            self._stats.tracks_put_off_total += 1
            self._waiting[channel] = payload
            self._look_again(wait_s)
        else:
            self._show(channel, payload)

    def _show(self, channel: Channel, payload: bytes) -> None:
        assert channel.room is not None
        self._present[channel] = None
        previous = channel.presence or self._take_lingering(channel, payload)
        if previous is not None and previous.payload == payload:
            channel.presence = previous
            return
        self._refs += 1
        former = previous.ref if previous is not None else ""
        meta = PresenceMeta(f"{self._node}.{self._refs:x}", payload, former)
        channel.presence = meta
        self._store.track(channel.room.key, channel.presence_key, meta)

    def show_waiting(self) -> None:
        """Show what was put off, as far as the limits allow by now."""
        self._timer = None
        soonest_s = float("inf")
        for channel, payload in list(self._waiting.items()):
            if channel.refusal_of(Right.WRITE_PRESENCE):
                del self._waiting[channel]  # it had the right when it asked
                continue
            wait_s = self._throttle.take_track(channel)
            if wait_s > 0:
                soonest_s = min(soonest_s, wait_s)
            else:
                del self._waiting[channel]
                self._show(channel, payload)
        if self._waiting:
            self._look_again(soonest_s)

    def _look_again(self, wait_s: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(max(wait_s, _LOOK_MIN_S), self.show_waiting)

    def untrack(self, channel: Channel) -> None:
        """Show nothing more for this channel."""
        self._waiting.pop(channel, None)
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
            self._waiting.pop(channel, None)
            return
        self._waiting.pop(channel, None)
        place = (channel.room.key, channel.presence_key)
        end_s = self._clock.monotonic_s() + self._grace_s
        self._lingering.setdefault(place, []).append((end_s, channel.presence))
        channel.presence = None
        self._present.pop(channel, None)

    def end_grace(self) -> None:
        """Let go of those who did not come back in time; to be called a few times a second."""
        now_s = self._clock.monotonic_s()
        for place, waiting in list(self._lingering.items()):
            stay = [entry for entry in waiting if entry[0] > now_s]
            for end_s, meta in waiting:
                if end_s <= now_s:
                    self._store.untrack(place[0], place[1], meta.ref)
            if stay:
                self._lingering[place] = stay
            else:
                del self._lingering[place]

    def _take_lingering(self, channel: Channel, payload: bytes) -> PresenceMeta | None:
        """A broken connection's meta under the same key: an equal one, else the oldest."""
        assert channel.room is not None
        place = (channel.room.key, channel.presence_key)
        waiting = self._lingering.get(place)
        if not waiting:
            return None
        equal = (i for i, (_, meta) in enumerate(waiting) if meta.payload == payload)
        _, meta = waiting.pop(next(equal, 0))
        if not waiting:
            del self._lingering[place]
        return meta

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
        diff = without_transients(PresenceDiff(*_frozen(pending)))
        if not diff.joins and not diff.leaves:
            return
        payload = payloads.presence_diff(diff)
        room.offer_presence(push_frame(room.topic.wire_name, "presence_diff", payload))


def _frozen(pending: tuple[_Metas, _Metas]) -> Iterator[dict[str, tuple[PresenceMeta, ...]]]:
    for metas in pending:
        yield {key: tuple(of_key) for key, of_key in metas.items()}
