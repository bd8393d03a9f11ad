"""A whole node without sockets or database: fake transports, a manual clock, fake subscriptions."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, cast

from tests.support.clock import ManualClock
from tests.support.frames import split_frames
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.adapters.memory.broker import MemoryBroker
from tidewire.adapters.memory.channel_rules import MemoryChannelRules
from tidewire.adapters.memory.message_store import MemoryMessageStore
from tidewire.adapters.memory.presence_store import MemoryPresenceStore
from tidewire.engine.audience import Fanout
from tidewire.engine.connection import Connection
from tidewire.engine.history import History
from tidewire.engine.limits import Limits
from tidewire.engine.node import Node
from tidewire.engine.persistence import Persistence
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import SubscribeOutcome, SystemNotice
from tidewire.ports.message_store import MessageStore
from tidewire.ports.transport import Refusal, Transport, UpgradeRequest

SECRET = "a-secret-of-at-least-thirty-two-bytes"
PATH = "/realtime/v1/websocket"


class FakeTransport:
    """Collects what the server writes."""

    def __init__(self, *, deflate: bool = False) -> None:
        self.supports_deflate = deflate
        self.last_heard_s = asyncio.get_running_loop().time()
        self.written: list[bytes] = []
        self.write = self.written.append
        self.closed_with: int | None = None
        self.aborted = False
        self.pings = 0
        self.held_s: list[float] = []

    def close(self, code: int, reason: str = "") -> None:
        self.closed_with = code

    def abort(self) -> None:
        self.aborted = True

    def ping(self) -> None:
        self.pings += 1

    def hold(self, delay_s: float) -> None:
        self.held_s.append(delay_s)


class FakeGroup:
    """Where a member is, by role."""

    def __init__(self, role: str) -> None:
        self.role = role


class FakeSubscriptions:
    """Grants every entry; a test may hold joins back or make them fail."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.members: list[Any] = []
        self.roles: list[str] = []
        self.claims: list[Any] = []
        self.groups: dict[Any, FakeGroup] = {}

    async def subscribe(
        self, member, topic, entries: Sequence[dict[str, Any]], role: str, *, claims: Any = None
    ):
        await self.gate.wait()
        if self.error:
            raise self.error
        self.members.append(member)
        self.roles.append(role)
        self.claims.append(claims)
        echoes = [json.dumps({**entry, "id": 7 + i}).encode() for i, entry in enumerate(entries)]
        notices = [SystemNotice("ok", "Subscribed to PostgreSQL")]
        group: Any = FakeGroup(role)
        self.groups[member] = group
        return SubscribeOutcome(group=group, echoes=echoes, system=tuple(notices))

    def unsubscribe(self, member, group) -> None:
        self.members.remove(member)
        if self.groups[member] is group:
            del self.groups[member]

    def refresh(self, member, group, claims: Any) -> None:
        if self.groups.get(member) is group:
            self.claims.append(claims)

    async def set_role(self, member, group, role: str, *, claims: Any = None):
        await self.gate.wait()
        if self.groups.get(member) is not group:
            return group  # as the real ones: it left, or is elsewhere already
        self.roles.append(role)
        self.claims.append(claims)
        self.groups[member] = FakeGroup(role)
        return self.groups[member]


class FakeRouter:
    """A stream that is live unless a test says otherwise."""

    def __init__(self) -> None:
        self.live = asyncio.Event()
        self.live.set()

    async def wait_live(self) -> None:
        await self.live.wait()


class House:
    """A node and all that it needs."""

    late_hold_s = 20.0

    def __init__(
        self, *, store: MessageStore | None = None, private_only: bool = False, **limits: Any
    ) -> None:
        self.clock = ManualClock()
        self.stats = Stats()
        self.rules = MemoryChannelRules()
        self.subscriptions = FakeSubscriptions()
        self.router = FakeRouter()
        self.fanout = Fanout(asyncio.get_running_loop())
        self.broker = MemoryBroker()
        self.store = store or MemoryMessageStore(self.clock)
        self.persistence = Persistence(self.store, self.clock, self.stats)
        self.history = History(
            self.store,
            self.clock,
            self.stats,
            replay_max=25,
            late_hold_s=self.late_hold_s,
        )
        self.node = Node(
            fanout=self.fanout,
            subscriptions=self.subscriptions,  # pyright: ignore[reportArgumentType] - a fake
            router=self.router,  # pyright: ignore[reportArgumentType] - a fake
            broker=self.broker,
            presence_store=MemoryPresenceStore(),
            persistence=self.persistence,
            channel_authorizer=self.rules,
            private_only=private_only,
            policy_poll_s=0.05,
            verifier=JwtVerifier(SECRET),
            history=self.history,
            clock=self.clock,
            rng=random.Random(1),
            stats=self.stats,
            limits=Limits(**limits),
        )

    def token(self, role: str = "anon", *, lifetime_s: float = 3600, **claims: Any) -> str:
        now_s = self.clock.wall_s()
        return sign_token(SECRET, role, now_s=now_s, lifetime_s=lifetime_s, claims=claims)

    def upgrade(
        self, vsn: str | None = "2.0.0", apikey: str | None = None, path: str = PATH
    ) -> Any:
        """What the node answers to an upgrade."""
        query = {"vsn": vsn, "apikey": apikey}
        given = {key: value for key, value in query.items() if value is not None}
        return self.node.accept(UpgradeRequest(path, given, {}, "127.0.0.1"))

    def connect(self, vsn: str = "2.0.0", *, token: str = "", deflate: bool = False) -> "Client":
        accept = self.upgrade(vsn, token or self.token())
        assert not isinstance(accept, Refusal), accept
        transport = FakeTransport(deflate=deflate)
        connection = accept(cast("Transport", transport))
        assert isinstance(connection, Connection)
        return Client(self, vsn, connection, transport)

    async def settle(self) -> None:
        """Let everything that is under way come to rest."""
        for _ in range(8):
            await asyncio.sleep(0)


class Client:
    """The far end of a connection: sends frames, reads what came."""

    def __init__(self, house: House, vsn: str, connection: Connection, transport: FakeTransport):
        self.house = house
        self.v1 = vsn.startswith("1")
        self.connection = connection
        self.transport = transport
        self._ref = 0

    def send(self, topic: str, event: str, payload: Any, *, join_ref: Any = "j") -> str:
        """Send a text frame; gives its ref."""
        self._ref += 1
        ref = str(self._ref)
        if self.v1:
            frame: Any = {"topic": topic, "event": event, "payload": payload, "ref": ref}
            frame["join_ref"] = join_ref
        else:
            frame = [join_ref, ref, topic, event, payload]
        self.connection.message_received(json.dumps(frame).encode(), True)
        return ref

    def join(self, topic: str, config: Any = None, **extra: Any) -> str:
        return self.send(topic, "phx_join", {"config": config or {}, **extra})

    def raw(self) -> list[tuple[int, bytes]]:
        return [frame for data in self.transport.written for frame in split_frames(data)]

    def frames(self) -> list[list[Any]]:
        """[join_ref, ref, topic, event, payload] of each text frame that came."""
        decoded = [json.loads(payload) for opcode, payload in self.raw() if opcode == 1]
        if self.v1:
            return [[None, f["ref"], f["topic"], f["event"], f["payload"]] for f in decoded]
        return decoded

    def events(self, event: str) -> list[Any]:
        return [frame[4] for frame in self.frames() if frame[3] == event]

    def reply(self, ref: str) -> Any:
        """The payload of the one reply to `ref`."""
        replies = [f[4] for f in self.frames() if f[3] == "phx_reply" and f[1] == ref]
        assert len(replies) == 1, replies
        return replies[0]

    def end(self, close_code: int | None) -> None:
        self.connection.connection_lost(close_code)
