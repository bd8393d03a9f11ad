"""Rooms: which channels of this node are joined to which topic."""

from __future__ import annotations

from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience, Fanout, Member


class Room:
    """One topic's channels on this node.

    Attributes:
        topic: The parsed topic, shared by all its channels.
        audience: Its channels.
    """

    __slots__ = ("audience", "key", "topic")

    def __init__(self, topic: Topic, audience: Audience) -> None:
        self.topic = topic
        self.key = topic.key
        self.audience = audience


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

    def enter(self, topic: Topic, member: Member) -> Room:
        """Put `member` into the topic's room, making it when it is the first."""
        room = self._rooms.get(topic.key)
        if room is None:
            room = self._rooms[topic.key] = Room(topic, Audience(self._fanout))
        room.audience.add(member)
        return room

    def leave(self, room: Room, member: Member) -> None:
        """Take `member` out; the last one closes the room."""
        room.audience.discard(member)
        if not room.audience and self._rooms.get(room.key) is room:
            del self._rooms[room.key]
