"""What a channel that joins is given of what was sent before. Source: wire specification 4.10.

Replay: rows of `realtime.messages`, on private channels that ask for them. Between the question
to the database and the answer to the join messages go on being sent; those are noted and given
behind the rows, so that nothing falls between history and present, and a live copy of a row that
was replayed is withheld from that channel.

Late messages: rows that were committed while no server ran go out when one runs again, at a
moment when clients are only coming back. So for a while they are held, and given to each channel
that joins their room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tidewire.core.clock import Clock
from tidewire.core.message import Message, PayloadEncoding
from tidewire.core.topic import Topic
from tidewire.engine.channel import Channel
from tidewire.engine.fanout import broadcast_frame
from tidewire.engine.hub import Room
from tidewire.engine.stats import Stats
from tidewire.ports.message_store import MessageStore, StoredMessage
from tidewire.protocol.phoenix import payloads

BACKLOG_MESSAGES_MAX = 1_000
"""Messages noted for one join while its replay is read; more, and the join is refused."""

LATE_MESSAGES_MAX = 10_000
LATE_BYTES_MAX = 32 << 20
"""Of late messages that are held; beyond it the oldest are let go."""


class Replay:
    """What was found for one join; also notes what is sent until the join is answered.

    Attributes:
        messages: Found in the store, oldest first.
        backlog: Rows that were sent since the store was asked.
        is_broken: Whether more was sent than is noted, so that something would be missing.
    """

    __slots__ = ("backlog", "is_broken", "messages")

    def __init__(self) -> None:
        self.is_broken = False
        self.messages: list[StoredMessage] = []
        self.backlog: list[Message] = []


class History:
    """Replays and late messages of one node."""

    def __init__(
        self,
        store: MessageStore,
        clock: Clock,
        stats: Stats,
        *,
        replay_max: int,
        late_hold_s: float,
    ) -> None:
        """Make it when the server starts.

        Args:
            store: Where messages are kept.
            clock: For the age of late messages.
            stats: Counts.
            replay_max: Messages that one replay brings at most.
            late_hold_s: How long late messages are held, from now on.
        """
        self._store = store
        self._clock = clock
        self._stats = stats
        self._replay_max = replay_max
        self._started_s = clock.wall_s()
        self._late_until_s = clock.monotonic_s() + late_hold_s
        self._late: deque[Message] = deque()
        self._late_bytes = 0
        self._reading: dict[str, set[Replay]] = {}
        self._replayed: dict[tuple[str, str], set[Channel]] = {}

    # ------------------------------------------------------------ for joins

    async def read(self, topic: Topic, *, since_ms: int, limit: int) -> Replay:
        """Read what is to be replayed, and note what is sent from now on.

        Give the answer to `welcome` or to `dismiss`, whatever happens.

        Raises:
            UnavailableError: The store does not answer.
        """
        replay = Replay()
        readings = self._reading.setdefault(topic.key, set())
        readings.add(replay)
        try:
            limit = min(max(limit, 1), self._replay_max)
            replay.messages = await self._store.recent(
                topic.sub_topic, since_ms=since_ms, limit=limit
            )
        except BaseException:
            self.dismiss(topic, replay)
            raise
        return replay

    def dismiss(self, topic: Topic, replay: Replay) -> None:
        """Note nothing more for a join. A second call is fine."""
        readings = self._reading.get(topic.key)
        if readings is not None:
            readings.discard(replay)
            if not readings:
                del self._reading[topic.key]

    def welcome(self, channel: Channel, replay: Replay | None) -> None:
        """Give a channel that has just been let in what came before it. Nothing here waits."""
        room = channel.room
        assert room is not None
        given: set[str] = set()
        if replay is not None:
            self.dismiss(room.topic, replay)
        if not channel.hears_broadcasts:
            return
        if replay is not None:
            for stored in replay.messages:
                given.add(stored.id)
                _give_again(channel, room, stored)
            self._stats.replayed_total += len(replay.messages)
        late = [*self._late_of(room.key), *(replay.backlog if replay is not None else ())]
        for message in late:
            if message.row_id not in given:
                given.add(message.row_id)
                _give(channel, room, message)
        if replay is not None and given:
            channel.replayed_ids = frozenset(given)
            for row_id in given:
                self._replayed.setdefault((room.key, row_id), set()).add(channel)

    def forget(self, channel: Channel) -> None:
        """A channel ended."""
        assert channel.room is not None
        for row_id in channel.replayed_ids:
            self._forget(channel.room.key, row_id, channel)
        channel.replayed_ids = frozenset()

    # ------------------------------------------------------------ for messages

    def note(self, message: Message) -> Iterable[Channel]:
        """Note a row that goes out now; gives the channels that have it already."""
        for replay in self._reading.get(message.topic, ()):
            if len(replay.backlog) >= BACKLOG_MESSAGES_MAX:
                replay.is_broken = True
            else:
                replay.backlog.append(message)
        return self._replayed.get((message.topic, message.row_id), ())

    def hold(self, message: Message, committed_at_s: float) -> None:
        """Hold a row for those who come back, when it was committed before this server ran."""
        if committed_at_s >= self._started_s or self._clock.monotonic_s() >= self._late_until_s:
            return
        self._late.append(message)
        self._late_bytes += len(message.body)
        while len(self._late) > LATE_MESSAGES_MAX or self._late_bytes > LATE_BYTES_MAX:
            self._late_bytes -= len(self._late.popleft().body)

    def _late_of(self, key: str) -> list[Message]:
        if not self._late:
            return []
        if self._clock.monotonic_s() >= self._late_until_s:
            self._late.clear()
            return []
        return [message for message in self._late if message.topic == key]

    def _forget(self, key: str, row_id: str, channel: Channel) -> None:
        channels = self._replayed.get((key, row_id))
        if channels is not None:
            channels.discard(channel)
            if not channels:
                del self._replayed[key, row_id]


def _give_again(channel: Channel, room: Room, stored: StoredMessage) -> None:
    """A replayed message: JSON in a text frame of the channel's own, bytes as ever (4.10)."""
    meta = payloads.row_meta(stored.id, replayed=True)
    if stored.encoding is PayloadEncoding.JSON:
        channel.push("broadcast", payloads.broadcast_object(stored.event, stored.body, meta))
    else:
        message = Message(room.key, stored.event, stored.body, encoding=stored.encoding, meta=meta)
        _give(channel, room, message)


def _give(channel: Channel, room: Room, message: Message) -> None:
    frame = broadcast_frame(room.topic.wire_name, message).for_lane(channel.lane)
    if frame:
        channel.transport.write(frame)
