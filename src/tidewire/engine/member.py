"""Receivers of an audience, and what it asks of one that reads too slowly.

`audience.Audience` is the one `Source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidewire.engine.fanout import FanoutFrame


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


class Source(Protocol):
    """What a member's frames come from."""

    def resume(self, member: Member) -> None:
        """Let a member that has caught up have its frames in the lanes again. Absent is fine."""
        ...


class Backlog(Protocol):
    """What holds frames for one connection that reads too slowly."""

    def entered(self, source: Source, member: Member) -> None:
        """`member` gets its frames of `source` from here, until `Source.resume`."""
        ...

    def hold(self, source: Source, member: Member, frames: Sequence[FanoutFrame]) -> None:
        """Take frames, in order, in place of writing them."""
        ...

    def forget(self, source: Source, member: Member) -> None:
        """Throw away what was taken of `source` for `member`: it may have it no longer."""
        ...


class SlowConnection(Protocol):
    """A connection that reads too slowly."""

    @property
    def transport(self) -> Writer:
        """Its members' transport."""
        ...

    def fall_behind(self) -> Backlog:
        """Give what its frames are handed to from now on."""
        ...
