"""Channels that subscribe alike, and what binds them to tables."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidewire.core.change import ChangeKind
from tidewire.core.predicate import Predicate
from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience
from tidewire.engine.cohorts import Cohorts
from tidewire.engine.fanout import Envelope, push_frame
from tidewire.engine.subscription_entry import Entry
from tidewire.protocol.phoenix import payloads

SUBSCRIBED = "Subscribed to PostgreSQL"
EXTENSION = "postgres_changes"
ENVELOPES_MAX = 64
"""Sets of entries that met one change, kept ready per group."""

GroupKey = tuple[str, str, tuple[bytes, ...]]
ShapeKey = tuple[str, frozenset[str] | None]
"""Role and selected columns: who has these in common sees the same of a table."""


class GroupState(enum.Enum):
    """Whether changes flow to a group."""

    LIVE = "live"
    WAITING = "waiting"  # for a table, a column or a privilege
    FAILED = "failed"  # a filter that the database could not evaluate; for good


class ChangeGroup:
    """All channels of one topic with the same entries and role.

    They get the same frames, as far as no row policy tells them apart.

    Attributes:
        key: Topic key, role and the entries as they came.
        topic: Their topic.
        role: Whose eyes they see with.
        entries: What they asked for.
        ids: The id of each entry.
        cohorts: The channels, by what they may see.
        state: Whether changes flow.
        problem: Why not, for the system message; "" while live.
        bindings: What ties it to tables while live.
    """

    __slots__ = (
        "_envelopes",
        "bindings",
        "cohorts",
        "entries",
        "ids",
        "key",
        "problem",
        "requests",
        "role",
        "state",
        "topic",
    )

    def __init__(
        self,
        key: GroupKey,
        topic: Topic,
        role: str,
        requests: Sequence[Requested],
        make_audience: Callable[[], Audience],
    ) -> None:
        self.key = key
        self.topic = topic
        self.role = role
        self.requests = tuple(requests)
        self.entries = tuple(request.entry for request in requests)
        self.ids = tuple(request.id for request in requests)
        self.cohorts = Cohorts(make_audience)
        self.state = GroupState.WAITING
        self.problem = ""
        self.bindings: tuple[Binding, ...] = ()
        self._envelopes: dict[bytes, Envelope] = {}

    def envelope(self, ids: bytes) -> Envelope:
        """What stands around the data of a change that meets the entries with these ids."""
        try:
            return self._envelopes[ids]
        except KeyError:
            pass
        if len(self._envelopes) >= ENVELOPES_MAX:
            self._envelopes.clear()
        opening = b'{"ids":[%b],"data":' % ids
        envelope = Envelope(self.topic.wire_name, EXTENSION, opening=opening, closing=b"}")
        self._envelopes[ids] = envelope
        return envelope

    def tell(self, status: str, message: str, *, reason: str = "") -> None:
        """Send every channel a system message."""
        extra = {"reason": reason} if reason else None
        payload = payloads.system(self.topic.sub_topic, EXTENSION, status, message, extra)
        self.cohorts.offer(push_frame(self.topic.wire_name, "system", payload))

    def tell_resync(self, reason: str) -> None:
        """Say that changes may be missing: the client should fetch again."""
        self.tell("ok", "resync", reason=reason)


class Requested(msgspec.Struct, frozen=True):
    """One entry of a join with what is derived from it.

    Attributes:
        entry: What it asks for.
        id: Its id on the wire.
        canonical: The request as JSON with sorted keys: equal requests have equal ones.
    """

    entry: Entry
    id: int
    canonical: bytes


class Binding:
    """One entry of one group on one table.

    Attributes:
        group: Who wants it.
        entry: What it wants.
        id: The entry's id.
        id_json: The same as JSON text.
        kinds: Which changes it wants.
        table_oid: The table.
        predicates: What rows must meet, compiled for the types of `type_oids`.
        type_oids: Type of each column that a predicate looks at.
        shape_key: Who else sees the same.
        hears_leaves: Whether it is told of rows that leave.
    """

    __slots__ = (
        "entry",
        "group",
        "hears_leaves",
        "id",
        "id_json",
        "kinds",
        "predicates",
        "shape_key",
        "table_oid",
        "type_oids",
    )

    def __init__(
        self,
        group: ChangeGroup,
        request: Requested,
        table_oid: int,
        predicates: tuple[Predicate, ...],
        type_oids: dict[str, int],
    ) -> None:
        self.group = group
        self.entry = request.entry
        self.kinds = tuple(request.entry.kinds)  # by identity: an enum's hash is slow
        self.id = request.id
        self.id_json = b"%d" % request.id
        self.table_oid = table_oid
        self.predicates = predicates
        self.type_oids = type_oids
        self.shape_key: ShapeKey = (group.role, request.entry.select)
        self.hears_leaves = request.entry.leaves and self.kinds != (ChangeKind.INSERT,)


class SystemNotice(msgspec.Struct, frozen=True):
    """A system message of extension postgres_changes.

    Attributes:
        status: ``ok`` or ``error``.
        message: Its text.
    """

    status: str
    message: str


class SubscribeOutcome(msgspec.Struct, frozen=True):
    """What a join gets for its entries.

    Attributes:
        group: Where its channel is now; None when an entry could not be read.
        echoes: For each entry the request's own JSON with its ``id``.
        system: Messages to send after the reply.
    """

    group: ChangeGroup | None
    echoes: list[bytes]
    system: tuple[SystemNotice, ...]


def canonical_request(request: dict[str, Any]) -> bytes:
    """The request as JSON with sorted keys."""
    return msgspec.json.encode(request, order="sorted")
