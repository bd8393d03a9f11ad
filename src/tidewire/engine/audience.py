"""Who gets what: sets of members, written to in coalesced slices.

Theory of operation. An `Audience` is a set of members that get the same frames. `offer` only
notes a frame; at the end of the event loop's turn the `Fanout` joins each audience's pending
frames into one run of bytes per wire form and writes that run to every member with one call. A
turn writes to at most `SLICE_WRITES` members, then lets the loop read sockets and goes on: a
large audience delays nobody's heartbeat, and frames offered meanwhile gather into the next run.
Coalescing is what makes many small messages cheap (one system call for all of a turn's frames);
under load it is helped along by gathering for a moment (see `pace`).

Order: members get an audience's frames in the order offered. A member that joins while frames
are pending gets only those offered after it joined.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.pace import Pace

SLICE_WRITES = 256


class Writer(Protocol):
    """What a member's frames are written to: a `ports.transport.Transport`, as far as needed."""

    def write(self, data: bytes, /) -> None:
        """Take prebuilt WebSocket frames; never blocks, never raises."""
        ...


class Member(Protocol):
    """One receiver of an audience."""

    @property
    def lane(self) -> int:
        """Its wire form, one of the lanes."""
        ...

    @property
    def transport(self) -> Writer:
        """Where its frames are written."""
        ...


class Audience:
    """A set of members that all get the same frames."""

    __slots__ = ("_exceptions", "_fanout", "_lanes", "_pending", "_size")

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        # Only lanes that somebody is in: most audiences have one.
        self._lanes: dict[int, dict[Member, None]] = {}
        self._pending: list[FanoutFrame] = []
        self._size = 0
        # Members who get only part of what is pending: the indexes they must not get.
        self._exceptions: dict[Member, set[int]] = {}

    def __len__(self) -> int:
        return self._size

    def __contains__(self, member: Member) -> bool:
        return member in self._lanes.get(member.lane, ())

    def add(self, member: Member) -> None:
        """Let `member` have every frame offered from now on."""
        members = self._lanes.setdefault(member.lane, {})
        self._size += member not in members
        members[member] = None
        if self._pending:
            self._exceptions[member] = set(range(len(self._pending)))

    def discard(self, member: Member) -> None:
        """Let `member` have nothing more, also nothing pending. Absent is fine."""
        members = self._lanes.get(member.lane)
        if members is None or members.pop(member, self) is self:
            return
        if not members:
            del self._lanes[member.lane]
        self._size -= 1
        self._exceptions.pop(member, None)
        self._fanout.forget(self, member)

    def release(self, member: Member) -> None:
        """Write what is pending for `member`, now, and let it have nothing more."""
        self._fanout.deliver(self, member)
        withheld = self._exceptions.get(member, frozenset[int]())
        frames = [frame for i, frame in enumerate(self._pending) if i not in withheld]
        if member in self and (data := _join(frames, member.lane)):
            member.transport.write(data)
        self.discard(member)

    def offer(self, frame: FanoutFrame, skip: Member | None = None) -> None:
        """Queue a frame for all members but `skip`; written at the end of the loop's turn."""
        if skip is not None:
            self._exceptions.setdefault(skip, set()).add(len(self._pending))
        self._pending.append(frame)
        if len(self._pending) == 1:
            self._fanout.schedule(self)

    def withhold(self, member: Member) -> None:
        """Keep the frame that was offered last from `member` too; at once after `offer`."""
        self._exceptions.setdefault(member, set()).add(len(self._pending) - 1)

    def write_pending(self, budget: int, later: deque[Run]) -> int:
        """Write all that is pending, or put off what is too much for one turn.

        Args:
            budget: How many writes this turn has left.
            later: Takes the runs that are put off.

        Returns:
            How many writes were done.
        """
        pending, self._pending = self._pending, []
        fanout = self._fanout
        fanout.frames_taken += len(pending)
        if self._exceptions or self._size > budget:
            exceptions, self._exceptions = self._exceptions, {}
            later.extend(self._runs(pending, exceptions))
            return 0
        count = 0
        for lane, members in self._lanes.items():
            if data := _join(pending, lane):
                count += len(members)
                fanout.count(len(members), len(pending), len(data))
                for member in members:
                    member.transport.write(data)
        return count

    def _runs(
        self, pending: list[FanoutFrame], exceptions: dict[Member, set[int]]
    ) -> Iterator[Run]:
        """Runs of bytes with their receivers; a member that gets only part has its own."""
        for lane, members in self._lanes.items():
            receivers = members.copy()
            for member, withheld in exceptions.items():
                if receivers.pop(member, self) is self:
                    continue
                own = [frame for i, frame in enumerate(pending) if i not in withheld]
                if data := _join(own, lane):
                    yield Run(self, data, len(own), {member: None})
            if receivers and (data := _join(pending, lane)):
                yield Run(self, data, len(pending), receivers)


def _join(frames: list[FanoutFrame], lane: int) -> bytes:
    """The frames' bytes in this wire form."""
    if len(frames) == 1:
        return frames[0].for_lane(lane)
    return b"".join([frame.for_lane(lane) for frame in frames])


class Run:
    """Bytes on their way to receivers that did not get them yet."""

    __slots__ = ("audience", "data", "frames", "receivers")

    def __init__(
        self, audience: Audience, data: bytes, frames: int, receivers: dict[Member, None]
    ) -> None:
        self.audience = audience
        self.data = data
        self.frames = frames
        self.receivers = receivers


class Fanout:
    """Writes what audiences have pending, in slices, at the end of each loop turn.

    Bound: what is pending for an audience is bounded by what its senders' connections may send
    in one turn; what is written goes into each transport's own bounded buffer.

    Attributes:
        writes: Writes to members so far; one may hold many frames.
        frames_written: Frames in them, counted once per receiver.
        frames_taken: Frames flushed, counted once per audience.
        bytes_written: Bytes in all writes.
    """

    __slots__ = (
        "_dirty",
        "_loop",
        "_pace",
        "_runs",
        "_scheduled",
        "bytes_written",
        "frames_taken",
        "frames_written",
        "writes",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: deque[Audience] = deque()
        self._runs: deque[Run] = deque()
        self._scheduled = False
        self._pace = Pace()
        self.frames_taken = 0
        self.writes = 0
        self.frames_written = 0
        self.bytes_written = 0

    def schedule(self, audience: Audience) -> None:
        """Note that `audience` has something pending."""
        self._dirty.append(audience)
        if not self._scheduled:
            self._scheduled = True
            if self._pace.window_s:
                self._loop.call_later(self._pace.window_s, self._turn)
            else:
                self._loop.call_soon(self._turn)

    def deliver(self, audience: Audience, member: Member) -> None:
        """Write what is on its way from `audience` to `member` before its turn comes."""
        for run in self._runs:
            if run.audience is audience and run.receivers.pop(member, run) is not run:
                member.transport.write(run.data)

    def forget(self, audience: Audience, member: Member) -> None:
        """Write nothing more of `audience` to `member`."""
        for run in self._runs:
            if run.audience is audience:
                run.receivers.pop(member, None)

    def count(self, writes: int, frames: int, size_bytes: int) -> None:
        """Note that so many members were written `size_bytes` that hold `frames` frames."""
        self.writes += writes
        self.frames_written += writes * frames
        self.bytes_written += writes * size_bytes

    def flush(self) -> None:
        """Write everything now; for the end of life and for tests."""
        while self._dirty or self._runs:
            self._write_slice()

    def _turn(self) -> None:
        flushes, frames, writes = len(self._dirty), self.frames_taken, self.writes
        self._write_slice()
        self._pace.note(
            self._loop.time(),
            flushes=flushes - len(self._dirty),
            frames=self.frames_taken - frames,
            writes=self.writes - writes,
        )
        self._scheduled = bool(self._runs or self._dirty)
        if self._scheduled:
            self._loop.call_soon(self._turn)

    def _write_slice(self) -> None:
        budget = SLICE_WRITES
        while budget > 0:
            if self._runs:
                count = self._write_run(self._runs[0], budget)
            elif self._dirty:
                count = self._dirty.popleft().write_pending(budget, self._runs)
            else:
                break
            budget -= count

    def _write_run(self, run: Run, budget: int) -> int:
        receivers, data = run.receivers, run.data
        count = min(budget, len(receivers))
        next_receiver = receivers.popitem
        for _ in range(count):
            next_receiver()[0].transport.write(data)
        if not receivers:
            self._runs.popleft()
        self.count(count, run.frames, len(data))
        return count
