"""Who gets what: sets of members, written to in coalesced slices.

Theory of operation. An `Audience` is a set of members that get the same frames. `offer` only
notes a frame; at the end of the event loop's turn the `Fanout` joins each audience's pending
frames into one run of bytes per wire form and writes that run to every member with one call. A
turn writes to at most `SLICE_WRITES` members, then lets the loop read sockets and goes on: a
large audience delays nobody's heartbeat, and frames offered meanwhile gather into the next run.
Coalescing is what makes many small messages cheap (one system call for all of a turn's frames);
under load it is helped along by gathering for a moment (see `pace`).

Slow readers. A member whose connection is congested leaves the lanes, which cost nothing for it any
more; from then on its frames are handed to its `Backlog` one by one, and when that is empty it
returns. Connections only note that they are slow, within a write; members are moved before
the next audience or slice is written, when nobody walks over them.

Order: members get an audience's frames in the order offered. A member that joins while frames
are pending gets only those offered after it joined.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.member import Backlog, Member, SlowConnection, Writer
from tidewire.engine.pace import Pace

SLICE_WRITES = 256


class Audience:
    """A set of members that all get the same frames."""

    __slots__ = (
        "_exceptions",
        "_fanout",
        "_fell_behind",
        "_lagging",
        "_lanes",
        "_pending",
        "_size",
    )

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        # Only lanes that somebody is in: most audiences have one.
        self._lanes: dict[int, dict[Member, None]] = {}
        self._pending: list[FanoutFrame] = []
        self._size = 0
        # Members who get only part of what is pending: the indexes they must not get.
        self._exceptions: dict[Member, set[int]] = {}
        self._lagging: dict[Member, Backlog] = {}
        # How many connections had fallen behind when members were last moved for it.
        self._fell_behind = fanout.fell_behind_total

    def __len__(self) -> int:
        return self._size + len(self._lagging)

    def __contains__(self, member: Member) -> bool:
        return member in self._lanes.get(member.lane, ()) or member in self._lagging

    def add(self, member: Member) -> None:
        """Let `member` have every frame offered from now on."""
        backlog = self._fanout.backlogs.get(member.transport) if self._fanout.backlogs else None
        if backlog is not None:
            self._lagging[member] = backlog
            backlog.entered(self, member)
        else:
            self._enter_lane(member)
        if self._pending:
            self._exceptions[member] = set(range(len(self._pending)))

    def _enter_lane(self, member: Member) -> None:
        members = self._lanes.setdefault(member.lane, {})
        self._size += member not in members
        members[member] = None

    def discard(self, member: Member) -> None:
        """Let `member` have nothing more, also nothing pending. Absent is fine."""
        backlog = self._lagging.get(member)
        if backlog is not None:
            backlog.forget(self, member)
        self._remove(member)

    def _remove(self, member: Member) -> None:
        if self._lagging.pop(member, None) is None:
            if not self._leave_lane(member):
                return
            self._fanout.forget(self, member)
        self._exceptions.pop(member, None)

    def _leave_lane(self, member: Member) -> bool:
        members = self._lanes.get(member.lane)
        if members is None or members.pop(member, self) is self:
            return False
        if not members:
            del self._lanes[member.lane]
        self._size -= 1
        return True

    def release(self, member: Member) -> None:
        """Write what is pending for `member`, now, and let it have nothing more."""
        self._fanout.move_slow()
        self._move_slow()
        self._fanout.deliver(self, member)
        frames = self._pending_for(member)
        if (backlog := self._lagging.get(member)) is not None:
            backlog.hold(self, member, frames)
        elif member in self and (data := _join(frames, member.lane)):
            member.transport.write(data)
        self._remove(member)

    def resume(self, member: Member) -> None:
        """Let a member that has caught up have its frames in the lanes again. Absent is fine."""
        if self._lagging.pop(member, None) is not None:
            self._enter_lane(member)

    def _pending_for(self, member: Member) -> list[FanoutFrame]:
        withheld = self._exceptions.get(member)
        if withheld is None:
            return self._pending
        return [frame for i, frame in enumerate(self._pending) if i not in withheld]

    def _move_slow(self) -> None:
        """Take members of connections that fell behind out of the lanes."""
        fanout = self._fanout
        if self._fell_behind == fanout.fell_behind_total:
            return
        self._fell_behind = fanout.fell_behind_total
        backlogs = fanout.backlogs
        slow = [
            member
            for members in self._lanes.values()
            for member in members
            if member.transport in backlogs
        ]
        for member in slow:
            self._leave_lane(member)
            backlog = self._lagging[member] = backlogs[member.transport]
            backlog.entered(self, member)

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
        fanout = self._fanout
        if self._fell_behind != fanout.fell_behind_total:
            self._move_slow()
        if self._lagging:
            for member, backlog in self._lagging.items():
                backlog.hold(self, member, self._pending_for(member))
        pending, self._pending = self._pending, []
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
                    yield Run(self, data, own, {member: None})
            if receivers and (data := _join(pending, lane)):
                yield Run(self, data, pending, receivers)


def _join(frames: list[FanoutFrame], lane: int) -> bytes:
    """The frames' bytes in this wire form."""
    if len(frames) == 1:
        return frames[0].for_lane(lane)
    return b"".join([frame.for_lane(lane) for frame in frames])


class Run:
    """Bytes on their way to receivers that did not get them yet."""

    __slots__ = ("audience", "data", "frames", "receivers")

    def __init__(
        self,
        audience: Audience,
        data: bytes,
        frames: Sequence[FanoutFrame],
        receivers: dict[Member, None],
    ) -> None:
        self.audience = audience
        self.data = data
        self.frames = frames
        self.receivers = receivers

    def hand_over(self, backlogs: Mapping[Writer, Backlog]) -> None:
        """Hand the frames to the backlogs of those receivers that have one."""
        slow = [member for member in self.receivers if member.transport in backlogs]
        for member in slow:
            del self.receivers[member]
            backlogs[member.transport].hold(self.audience, member, self.frames)


class Fanout:
    """Writes what audiences have pending, in slices, at the end of each loop turn.

    Bound: what is pending for an audience is bounded by what its senders' connections may send
    in one turn; what is written goes into each transport's own bounded buffer.

    Attributes:
        writes: Writes to members so far; one may hold many frames.
        frames_written: Frames in them, counted once per receiver.
        frames_taken: Frames flushed, counted once per audience.
        bytes_written: Bytes in all writes.
        backlogs: What holds frames for connections that fell behind, by their transport.
        fell_behind_total: How many connections did so far.
    """

    __slots__ = (
        "_dirty",
        "_loop",
        "_pace",
        "_runs",
        "_scheduled",
        "_slow",
        "backlogs",
        "bytes_written",
        "fell_behind_total",
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
        self._slow: dict[Writer, SlowConnection] = {}
        self.backlogs: dict[Writer, Backlog] = {}
        self.fell_behind_total = 0
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

    def note_slow(self, connection: SlowConnection) -> None:
        """A connection is congested; said from within a write, so nothing is moved yet."""
        self._slow[connection.transport] = connection

    def forget_slow(self, transport: Writer) -> None:
        """It is not any more, or is gone. Unknown is fine."""
        self._slow.pop(transport, None)
        self.backlogs.pop(transport, None)

    def move_slow(self) -> None:
        """Let those noted fall behind; not while anybody walks over an audience."""
        if not self._slow:
            return
        for transport, connection in self._slow.items():
            self.backlogs[transport] = connection.fall_behind()
            self.fell_behind_total += 1
        self._slow.clear()
        for run in self._runs:
            run.hand_over(self.backlogs)

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
            if self._slow:
                self.move_slow()
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
        self.count(count, len(run.frames), len(data))
        return count
