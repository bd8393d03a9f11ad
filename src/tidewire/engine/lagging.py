"""Connections that read too slowly: what becomes of them, and that nobody waits for them.

Theory of operation. A transport says within a write that too much waits for its peer. The
connection is then noted with the `Fanout`, which moves its members out of the lanes before it
writes anything else; their frames go to the connection's `Laggard`, which keeps what its
`Conflation` says. When the peer has read most of what waited, the laggard writes what was kept,
in pieces, until the transport is congested again or nothing is left. Then each channel is told
what it missed, and the members return to the lanes. Nothing of this waits, so no frame falls
between: one is either handed to the laggard before it is empty, or written behind it.

A peer that reads nothing at all is cut off by its transport.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from tidewire.core.clock import Clock
from tidewire.core.rate_limit import Meter, rates
from tidewire.engine.audience import Fanout
from tidewire.engine.change_group import EXTENSION
from tidewire.engine.channel import Channel
from tidewire.engine.conflation import Conflation, Owed
from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.limits import Limits
from tidewire.engine.member import Backlog, Member, Source, Writer
from tidewire.engine.stats import Stats
from tidewire.protocol.phoenix import payloads

logger = logging.getLogger(__name__)

RUN_BYTES = 65_536
"""Written to one that catches up at once."""

TURN_BYTES = 4 * RUN_BYTES
"""Written to it in one turn of the loop."""

TOO_SLOW = "the connection read too slowly"

PATIENCE_S = 1.0
"""How long the stream of changes, between full batches, waits for one that is behind."""

PATIENCE_PAUSE_S = 60.0
"""How long it is not waited for again after that did not help."""

PATIENCE_SPENT_MAX = 3
"""How many such waits there may be in that time, whoever caused them: a twentieth of it."""


class SlowPeer(Protocol):
    """A connection, as far as needed here.

    Attributes:
        id: Its name within the node.
        lane: Its wire form.
    """

    id: str
    lane: int

    @property
    def transport(self) -> Writer:
        """Takes prebuilt frames."""
        ...


class Laggards:
    """Those of one node's connections that read too slowly now."""

    __slots__ = (
        "_clock",
        "_fanout",
        "_laggards",
        "_limits",
        "_loop",
        "_noted",
        "_send_state",
        "_spent",
        "_stats",
        "_unwaited",
    )

    def __init__(self, fanout: Fanout, limits: Limits, stats: Stats, clock: Clock) -> None:
        self._fanout = fanout
        self._limits = limits
        self._stats = stats
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._noted: dict[SlowPeer, float] = {}
        self._laggards: dict[SlowPeer, Laggard] = {}
        # Until when those are not waited for who did not use it the last time.
        self._unwaited: dict[str, float] = {}
        limit = rates(PATIENCE_SPENT_MAX / PATIENCE_PAUSE_S, burst_s=PATIENCE_PAUSE_S)
        assert limit is not None
        self._spent = Meter(limit)
        self._send_state: Callable[[Channel], None] = lambda _channel: None

    def __len__(self) -> int:
        return len(self._laggards)

    def __contains__(self, peer: SlowPeer) -> bool:
        return peer in self._laggards

    def set_presence(self, send_state: Callable[[Channel], None]) -> None:
        """Name what sends a channel its presence_state."""
        self._send_state = send_state

    def paused(self, peer: SlowPeer) -> None:
        """Too much waits for `peer`; called from within a write."""
        laggard = self._laggards.get(peer)
        if laggard is not None:
            laggard.may_write = False
        elif peer not in self._noted:
            self._noted[peer] = self._clock.monotonic_s()
            self._fanout.note_slow(_Noted(self, peer))

    def resumed(self, peer: SlowPeer) -> None:
        """Most of it is gone."""
        laggard = self._laggards.get(peer)
        if laggard is not None:
            laggard.may_write = True
            self._loop.call_soon(laggard.catch_up)
        else:
            self.forget(peer)

    def forget(self, peer: SlowPeer) -> None:
        """It is well again, or gone. Unknown is fine."""
        self._noted.pop(peer, None)
        laggard = self._laggards.pop(peer, None)
        if laggard is not None:
            laggard.may_write = False
            self._stats.slow_readers -= 1
        self._fanout.forget_slow(peer.transport)

    def fall_behind(self, peer: SlowPeer) -> Laggard:
        """Keep what comes for `peer` from now on."""
        laggard = Laggard(self, peer, Conflation(peer.lane, self._limits, self._stats))
        self._laggards[peer] = laggard
        self._stats.slow_readers += 1
        self._stats.slow_readers_total += 1
        logger.info("a client reads too slowly", extra={"connection": peer.id})
        return laggard

    def caught_up(self, peer: SlowPeer) -> None:
        """Nothing is left to write."""
        self.forget(peer)
        logger.info("a slow client caught up", extra={"connection": peer.id})

    def tell(self, channel: Channel, owed: Owed) -> None:
        """Tell a channel what it missed."""
        if not channel.is_open:
            return
        if owed.changes and channel.room is not None:
            sub_topic = channel.room.topic.sub_topic
            extra = {"reason": TOO_SLOW}
            resync = payloads.system(sub_topic, EXTENSION, "ok", "resync", extra)
            channel.push("system", resync)
        if owed.broadcasts:
            text = f"{owed.broadcasts} broadcasts were dropped: {TOO_SLOW}"
            channel.push_system("system", "ok", text)
        if owed.presence and channel.hears_presence:
            self._send_state(channel)

    def are_worth_waiting_for(self) -> bool:
        """Whether the stream of changes should wait a moment for those who are behind.

        That spares a client that reads, only slower than we write, from being conflated by one
        large transaction. One that does not come back within `PATIENCE_S` is not waited for again
        for a while, and if there are several, nobody is: they must cost the others nothing.
        """
        now_s = self._clock.monotonic_s()
        is_worth_it = False
        for peer, since_s in self._noted.items():
            if self._unwaited.get(peer.id, 0.0) > now_s:
                continue
            if now_s - since_s < PATIENCE_S:
                is_worth_it = True
            else:
                self._spend_patience(peer, now_s)
        return is_worth_it and self._spent.wait_s(now_s) == 0.0

    def _spend_patience(self, peer: SlowPeer, now_s: float) -> None:
        self._spent.take(now_s)
        if len(self._unwaited) > 1000:
            self._unwaited = {name: s for name, s in self._unwaited.items() if s > now_s}
        self._unwaited[peer.id] = now_s + PATIENCE_PAUSE_S


class _Noted:
    """A connection that is about to fall behind; see `member.SlowConnection`."""

    __slots__ = ("_laggards", "_peer", "transport")

    def __init__(self, laggards: Laggards, peer: SlowPeer) -> None:
        self._laggards = laggards
        self._peer = peer
        self.transport = peer.transport

    def fall_behind(self) -> Backlog:
        return self._laggards.fall_behind(self._peer)


class Laggard:
    """One connection that reads too slowly; implements `member.Backlog`.

    Attributes:
        may_write: Whether its transport takes more.
    """

    __slots__ = ("_kept", "_laggards", "_peer", "_places", "may_write")

    def __init__(self, laggards: Laggards, peer: SlowPeer, kept: Conflation) -> None:
        self._laggards = laggards
        self._peer = peer
        self._kept = kept
        self._places: dict[tuple[Source, Member], None] = {}
        self.may_write = False

    def entered(self, source: Source, member: Member) -> None:
        """Remember where `member` is to return to."""
        self._places[source, member] = None

    def hold(self, source: Source, member: Member, frames: Sequence[FanoutFrame]) -> None:
        """Keep what is needed of some frames."""
        assert isinstance(member, Channel)
        for frame in frames:
            self._kept.hold(member, frame, source)

    def forget(self, source: Source, member: Member) -> None:
        """Throw away what was kept of `source` for `member`."""
        assert isinstance(member, Channel)
        self._kept.forget(member, source)

    def catch_up(self) -> None:
        """Write what was kept, as far as the transport takes it; return to the lanes at the end."""
        written = 0
        while self.may_write:
            if written >= TURN_BYTES:
                asyncio.get_running_loop().call_soon(self.catch_up)
                return
            if run := self._kept.take(RUN_BYTES):
                written += len(run)
                self._peer.transport.write(run)
            elif owed := self._kept.take_owed():
                for channel, what in owed.items():
                    self._laggards.tell(channel, what)
            else:
                self._return()

    def _return(self) -> None:
        self._laggards.caught_up(self._peer)  # first: it ends `may_write`, and the backlog
        for source, member in self._places:
            source.resume(member)
