"""One client's joined topic, and how it is spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from tidewire.core.presence_state import PresenceMeta
from tidewire.core.rate_limit import Meter
from tidewire.engine.hub import Room
from tidewire.engine.member import Writer
from tidewire.engine.subscriptions import ChangeGroup
from tidewire.ports.channel_authorizer import ChannelRights, Right
from tidewire.ports.token_verifier import Claims
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame


class PeerTransport(Writer, Protocol):
    """A `ports.transport.Transport`, as far as channels need it.

    Attributes:
        last_heard_s: When the message came that is being carried out.
    """

    last_heard_s: float

    def hold(self, delay_s: float) -> None:
        """Read nothing from the peer for a while."""
        ...


class Peer(Protocol):
    """What a channel needs of its connection.

    Attributes:
        id: Name of the connection within its node.
        lane: Its wire form.
        claims: Whom the connection's own token speaks for.
        token: That token.
        sends_join_refs: Whether its frames carry a join_ref (serializer 2).
        channels: Joined channels by wire topic.
        joining: Joins under way by wire topic.
        policy_headers: What policies may read of its upgrade's headers, JSON.
        meter: What it used of the limit on messages; None before the first.
        join_meter: The same of the limit on joins.
        track_meter: The same of the limit on tracks.
    """

    id: str
    lane: int
    claims: Claims
    token: str
    sends_join_refs: bool
    channels: dict[str, Channel]
    joining: dict[str, asyncio.Task[None]]
    policy_headers: str
    meter: Meter | None
    join_meter: Meter | None
    track_meter: Meter | None

    @property
    def transport(self) -> PeerTransport:
        """Takes prebuilt frames."""
        ...

    def send(self, topic: str, event: str, payload: bytes, *, join_ref: bytes, ref: bytes) -> None:
        """Send one text frame."""
        ...

    def carry_out(self, frames: Sequence[ClientFrame]) -> None:
        """Carry out pushes that waited."""
        ...


class Channel:
    """One client's joined topic.

    Attributes:
        peer: Its connection.
        lane: The connection's wire form.
        transport: The connection's, for prebuilt frames.
        join_ref: JSON text of the join's ref, echoed in frames to this channel alone.
        claims: Whom it speaks for now.
        token: The token those claims came from.
        acknowledges: Whether each broadcast is replied to.
        hears_itself: Whether its own broadcasts come back.
        presence_key: Key it is present under.
        presence: What it tracks now.
        sends_presence_state: Whether presence_state was or will be sent.
        room: The room it is in.
        group: Its postgres_changes, if any.
        joined_bytes: Size of its topic and of its join's payload.
        replayed_ids: Rows of messages that it was given by a replay.
        is_open: Whether it is joined: between the answer to its join and its end.
        rights: What it may do in a private room; None in a public one, where all is allowed.
        rights_asked: Number of the last question about its rights.
        rights_told: How many changes of policies had been told when it was asked about first.
        wants_presence: Whether it asked to see who is there.
        held: Pushes that wait until the rights of its new token are known; else None.
        meter: What it used of the limit on messages; None before the first.
        track_meter: The same of the limit on tracks.
        told_s: When it was last told of a limit, in the transport's time.
        expiry_bucket: Where `Expiry` holds it; -1 for nowhere.
    """

    __slots__ = (
        "acknowledges",
        "claims",
        "expiry_bucket",
        "group",
        "hears_itself",
        "held",
        "is_open",
        "join_ref",
        "joined_bytes",
        "lane",
        "meter",
        "peer",
        "presence",
        "presence_key",
        "replayed_ids",
        "rights",
        "rights_asked",
        "rights_told",
        "room",
        "sends_presence_state",
        "token",
        "told_s",
        "track_meter",
        "transport",
        "wants_presence",
    )

    def __init__(self, peer: Peer, join_ref: bytes, claims: Claims, token: str) -> None:
        self.peer = peer
        self.lane = peer.lane
        self.transport = peer.transport
        self.join_ref = join_ref
        self.claims = claims
        self.token = token
        self.acknowledges = False
        self.hears_itself = False
        self.presence_key = ""
        self.presence: PresenceMeta | None = None
        self.sends_presence_state = False
        self.room: Room | None = None
        self.group: ChangeGroup | None = None
        self.joined_bytes = 0
        self.replayed_ids: frozenset[str] = frozenset()
        self.is_open = False
        self.rights: ChannelRights | None = None
        self.rights_asked = 0
        self.rights_told = 0
        self.wants_presence = False
        self.held: list[ClientFrame] | None = None
        self.meter: Meter | None = None
        self.track_meter: Meter | None = None
        self.told_s = float("-inf")
        self.expiry_bucket = -1

    @property
    def hears_broadcasts(self) -> bool:
        """Whether broadcasts may be delivered to it."""
        return self.rights is None or Right.READ_BROADCAST in self.rights.granted

    @property
    def hears_presence(self) -> bool:
        """Whether it may be told who is there."""
        return self.rights is None or Right.READ_PRESENCE in self.rights.granted

    def refusal_of(self, right: Right) -> str:
        """Why it may not write, as the wire has it; "" when it may."""
        if self.rights is None or right in self.rights.granted:
            return ""
        if self.rights.problem is not None and right in self.rights.failed:
            return self.rights.problem.value
        return codes.UNAUTHORIZED

    @property
    def held_bytes(self) -> int:
        """What it makes the server keep, roughly."""
        return self.joined_bytes + (len(self.presence.payload) if self.presence else 0)

    def push(self, event: str, payload: bytes) -> None:
        """Send a frame to this channel alone."""
        assert self.room is not None
        self.peer.send(
            self.room.topic.wire_name, event, payload, join_ref=self.join_ref, ref=b"null"
        )

    def push_system(self, extension: str, status: str, message: str) -> None:
        """Send a system message (wire specification 3.7)."""
        assert self.room is not None
        sub_topic = self.room.topic.sub_topic
        self.push("system", payloads.system(sub_topic, extension, status, message))

    def push_notice(self, message: str, reason: str) -> None:
        """Send a system message that asks for nothing.

        Its status is ``ok``: for an ``error`` supabase-py gives the channel up and joins again.
        """
        assert self.room is not None
        sub_topic = self.room.topic.sub_topic
        extra = {"reason": reason}
        self.push("system", payloads.system(sub_topic, "system", "ok", message, extra))

    def push_close(self) -> None:
        """Tell the client that this channel is closed."""
        assert self.room is not None
        self.peer.send(
            self.room.topic.wire_name,
            "phx_close",
            payloads.EMPTY,
            join_ref=self.join_ref,
            ref=self.join_ref,
        )


def held_bytes(peer: Peer) -> int:
    """What all channels of a connection make the server keep, roughly."""
    return sum([channel.held_bytes for channel in peer.channels.values()])
