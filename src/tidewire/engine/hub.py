"""Rooms: which channels of this node are joined to which topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.member import Member


class Room:
    """One topic's channels on this node.

    Members of a private room may hear broadcasts, presence or both, each in an audience of its
    own: what goes out is offered to one audience more, never to single members.

    Attributes:
        topic: The parsed topic, shared by all its channels.
        audience: Its channels that hear everything; in a public room all of them.
    """

    __slots__ = ("_broadcasts_only", "_presence_only", "audience", "key", "topic")

    def __init__(self, topic: Topic, audience: Audience) -> None:
        self.topic = topic
        self.key = topic.key
        self.audience = audience
        self._broadcasts_only: Audience | None = None
        self._presence_only: Audience | None = None

    def __len__(self) -> int:
        return sum(len(audience) for audience in self._audiences())

    def offer_broadcast(self, frame: FanoutFrame, skip: Member | None = None) -> None:
        """Send a frame to all that hear broadcasts, but `skip`."""
        self.audience.offer(frame, skip)
        if self._broadcasts_only is not None:
            self._broadcasts_only.offer(frame, skip)

    def withhold_broadcast(self, member: Member) -> None:
        """Keep the broadcast offered last from one more member."""
        for audience in (self.audience, self._broadcasts_only):
            if audience is not None and member in audience:
                audience.withhold(member)

    def offer_presence(self, frame: FanoutFrame) -> None:
        """Send a frame to all that hear of presence."""
        self.audience.offer(frame)
        if self._presence_only is not None:
            self._presence_only.offer(frame)

    def place(
        self, member: Member, *, broadcasts: bool, presence: bool, make: Callable[[], Audience]
    ) -> None:
        """Let `member` hear this from now on; what is on its way to it still arrives.

        To take something away at once, `discard` it instead.
        """
        wanted: Audience | None = None
        if broadcasts and presence:
            wanted = self.audience
        elif broadcasts:
            wanted = self._broadcasts_only = self._broadcasts_only or make()
        elif presence:
            wanted = self._presence_only = self._presence_only or make()
        for audience in self._audiences():
            if audience is not wanted and member in audience:
                audience.release(member)
        if wanted is not None and member not in wanted:
            wanted.add(member)

    def discard(self, member: Member) -> None:
        """Let `member` have nothing more, also nothing that is on its way."""
        for audience in self._audiences():
            audience.discard(member)

    def _audiences(self) -> Iterator[Audience]:
        yield self.audience
        if self._broadcasts_only is not None:
            yield self._broadcasts_only
        if self._presence_only is not None:
            yield self._presence_only


class Hub:
    """All rooms of this node; a room exists while somebody is in it."""

    __slots__ = ("_fanout", "_rooms")

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def find(self, key: str) -> Room | None:
        """The room of a topic key, if anybody is in it."""
        return self._rooms.get(key)

    def enter(
        self, topic: Topic, member: Member, *, broadcasts: bool = True, presence: bool = True
    ) -> Room:
        """Put `member` into the topic's room, making it when it is the first.

        Args:
            topic: Whose room.
            member: Who comes; it must hear something.
            broadcasts: Whether it hears broadcasts.
            presence: Whether it hears of presence.
        """
        assert broadcasts or presence
        room = self._rooms.get(topic.key)
        if room is None:
            room = self._rooms[topic.key] = Room(topic, Audience(self._fanout))
        if broadcasts and presence:
            room.audience.add(member)
        else:
            self.place(room, member, broadcasts=broadcasts, presence=presence)
        return room

    def place(self, room: Room, member: Member, *, broadcasts: bool, presence: bool) -> None:
        """Let a member of a room hear this from now on."""
        room.place(
            member,
            broadcasts=broadcasts,
            presence=presence,
            make=lambda: Audience(self._fanout),
        )

    def leave(self, room: Room, member: Member) -> None:
        """Take `member` out; the last one closes the room."""
        room.discard(member)
        if not len(room) and self._rooms.get(room.key) is room:
            del self._rooms[room.key]
