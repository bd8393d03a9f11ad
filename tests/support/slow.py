"""A connection whose far end reads when a test says so, and a room with a table's changes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.changes import TRIPS, TYPES, relation_of, table
from tests.support.clock import ManualClock
from tests.support.frames import split_frames
from tests.support.peers import FakePeer
from tidewire.core.change import Change, ReplicaIdentity
from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.change_frames import ChangeShape
from tidewire.engine.channel import Channel
from tidewire.engine.fanout import Envelope, push_frame
from tidewire.engine.hub import Hub
from tidewire.engine.lagging import Laggards
from tidewire.engine.limits import Limits
from tidewire.engine.row_frame import RowFrame
from tidewire.engine.stats import Stats

TOPIC = Topic.parse("realtime:room")
TABLE = table(TRIPS, "trips", (("id", 23), ("status", 25), ("note", 25)))
OUTBOX_BYTES = 600


class SlowPeer(FakePeer):
    """Buffers what it is sent until it reads, and says when that is too much."""

    def __init__(self, name: str, laggards: Laggards) -> None:
        super().__init__(name)
        self.laggards = laggards
        self.buffer: list[bytes] = []
        self.most_bytes = 0
        self.is_paused = False
        self.write = self._write

    @property
    def buffered_bytes(self) -> int:
        return sum(map(len, self.buffer))

    def _write(self, data: bytes) -> None:
        self.buffer.append(data)
        self.most_bytes = max(self.most_bytes, self.buffered_bytes)
        if self.buffered_bytes > OUTBOX_BYTES and not self.is_paused:
            self.is_paused = True
            self.laggards.paused(self)

    def read(self) -> list[tuple[str, Any]]:
        """Everything that waits: (event, payload)."""
        data, self.buffer = b"".join(self.buffer), []
        frames = [json.loads(payload) for _, payload in split_frames(data)]
        if self.is_paused:
            self.is_paused = False
            self.laggards.resumed(self)
        return [(frame[3], frame[4]) for frame in frames]


class SlowHouse:
    """A fan-out with one audience of changes and one room, and those who lag in them."""

    def __init__(self, identity: ReplicaIdentity = ReplicaIdentity.DEFAULT, **limits: Any) -> None:
        self.stats = Stats()
        self.clock = ManualClock()
        self.fanout = Fanout(asyncio.get_running_loop())
        self.limits = Limits(**limits)
        self.laggards = Laggards(self.fanout, self.limits, self.stats, self.clock)
        self.states: list[Channel] = []
        self.laggards.set_presence(self.send_state)
        self.hub = Hub(self.fanout)
        self.changes = Audience(self.fanout)
        self.relation = relation_of(TABLE, identity)
        columns = frozenset(column.name for column in TABLE.columns)
        self.shape = ChangeShape(self.relation, TABLE, TYPES, columns, readable=columns)
        self._envelopes: dict[bytes, Envelope] = {}

    def join(self, name: str) -> tuple[Channel, SlowPeer]:
        peer = SlowPeer(name, self.laggards)
        channel = Channel(peer, b'"1"', peer.claims, "")
        channel.room = self.hub.enter(TOPIC, channel)
        channel.is_open = True
        peer.channels[TOPIC.wire_name] = channel
        self.changes.add(channel)
        return channel, peer

    def leave(self, channel: Channel) -> None:
        assert channel.room is not None
        channel.is_open = False
        self.hub.leave(channel.room, channel)
        self.changes.discard(channel)

    def send_state(self, channel: Channel) -> None:
        self.states.append(channel)
        channel.push("presence_state", b"{}")

    def frame(self, change: Change, ids: bytes = b"1") -> RowFrame:
        envelope = self._envelopes.setdefault(
            ids,
            Envelope(
                TOPIC.wire_name,
                "postgres_changes",
                opening=b'{"ids":[%b],"data":' % ids,
                closing=b"}",
            ),
        )
        body = self.shape.data(change, b"2026-09-30T10:11:12.345Z")
        return RowFrame(envelope, body, change, self.shape.key_columns)

    def offer(self, change: Change, ids: bytes = b"1") -> None:
        self.changes.offer(self.frame(change, ids))
        self.fanout.flush()

    def say(self, event: str, payload: bytes) -> None:
        """To the room."""
        room = self.hub.find(TOPIC.key)
        assert room is not None
        room.audience.offer(push_frame(TOPIC.wire_name, event, payload))
        self.fanout.flush()

    async def drain(self, peer: SlowPeer) -> list[tuple[str, Any]]:
        """Read on until nothing more comes."""
        got: list[tuple[str, Any]] = []
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0)
            read = peer.read()
            got += read
            quiet = 0 if read else quiet + 1
        return got
