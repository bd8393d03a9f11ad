"""Tokens that end while their channel is open. Source: wire specification 3.10."""

from __future__ import annotations

from collections.abc import Iterable

from tidewire.core.clock import Clock
from tidewire.engine.channel import Channel

_NEVER = -1


class Expiry:
    """Watches the tokens of open channels, in buckets of a second.

    Only tokens that end within the horizon are held; `rewatch`, called when it is due, takes in
    those that came nearer. So channels under keys of many years cost nothing.
    """

    __slots__ = ("_buckets", "_clock", "_horizon_s", "_rewatched_s")

    def __init__(self, clock: Clock, *, horizon_s: float = 3600.0) -> None:
        self._clock = clock
        self._horizon_s = horizon_s
        self._buckets: dict[int, set[Channel]] = {}
        self._rewatched_s = float("-inf")

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def watch(self, channel: Channel) -> None:
        """Note when the channel's present token ends, instead of what was noted before."""
        self.forget(channel)
        end_s = channel.claims.expires_at_s
        if end_s - self._clock.wall_s() <= 2 * self._horizon_s:
            channel.expiry_bucket = int(end_s)
            self._buckets.setdefault(channel.expiry_bucket, set()).add(channel)

    @property
    def is_rewatch_due(self) -> bool:
        """Whether a horizon passed, by the clock that tokens go by: it may have jumped."""
        return self._clock.wall_s() - self._rewatched_s >= self._horizon_s

    def rewatch(self, channels: Iterable[Channel]) -> None:
        """Take in tokens that came nearer."""
        self._rewatched_s = self._clock.wall_s()
        for channel in channels:
            if channel.expiry_bucket == _NEVER:
                self.watch(channel)

    def forget(self, channel: Channel) -> None:
        """The channel is closed, or has another token."""
        bucket = self._buckets.get(channel.expiry_bucket)
        if bucket is not None:
            bucket.discard(channel)
            if not bucket:
                del self._buckets[channel.expiry_bucket]
        channel.expiry_bucket = _NEVER

    def take_expired(self) -> list[Channel]:
        """Channels whose token has ended; they are watched no longer."""
        now_s = self._clock.wall_s()
        due = [bucket for bucket in self._buckets if bucket <= now_s]
        expired = [
            channel
            for bucket in due
            for channel in self._buckets[bucket]
            if channel.claims.expires_at_s <= now_s
        ]
        for channel in expired:
            self.forget(channel)
        return expired
