"""What an audience needs of those who hear it."""

from __future__ import annotations

from typing import Protocol


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
