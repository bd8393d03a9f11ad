"""Broadcasts that come over HTTP, from people who have joined nothing.

A batch goes out as far as its sender may write: private messages that he may not write are
passed over, and he is not told (wire specification 4.7). A single broadcast is refused instead,
and may be kept for replay: in the background, as 4.11 has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidewire.core.errors import (
    BrokerUnavailableError,
    DatabaseUnavailableError,
    InvalidTopicError,
    LimitReachedError,
)
from tidewire.core.message import Message, PayloadEncoding
from tidewire.core.topic import PREFIX, Topic
from tidewire.engine.persistence import Persistence
from tidewire.engine.quota import MessageQuota
from tidewire.engine.rights import policy_headers, question_of
from tidewire.engine.stats import Stats
from tidewire.engine.tasks import TaskSet
from tidewire.ports.broker import Broker
from tidewire.ports.channel_authorizer import ChannelAuthorizer, ChannelRights, Problem, Right
from tidewire.ports.token_verifier import Claims
from tidewire.protocol.phoenix import payloads
from tidewire.protocol.phoenix.broadcast_batch import BatchEntry

_PROBLEMS = {
    Problem.POLICY: "RLS policy error",
    Problem.CANCELED: "Query canceled",
    Problem.PARTITION: "Missing messages partition",
    Problem.SETTINGS: "Unable to authorize broadcast",
}
_KEEP = "keep a broadcast"


class Refusal(msgspec.Struct, frozen=True):
    """Why nothing was sent.

    Attributes:
        status: Of the answer.
        message: Its text.
    """

    status: int
    message: str


UNAUTHORIZED = Refusal(403, "Unauthorized")
NOT_TAKEN = Refusal(500, "RPC error")
NO_DATABASE = Refusal(422, "Tenant database unavailable")
TOO_MANY_ASK = Refusal(429, "Connection pool exhausted")
_TOO_MANY = 429


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        refusal: None when it was accepted.
        headers: For the answer, whichever it is: how fast messages come.
    """

    refusal: Refusal | None
    headers: dict[str, str]


class SingleBroadcast(msgspec.Struct, frozen=True):
    """One broadcast, checked.

    Attributes:
        topic: Where it goes.
        event: The user's event name.
        body: JSON text, or bytes.
        encoding: Which of the two.
        ttl_s: Seconds for which it may be replayed; None when it is not to be kept.
    """

    topic: Topic
    event: str
    body: bytes
    encoding: PayloadEncoding
    ttl_s: int | None = None


_WRITE = frozenset({Right.WRITE_BROADCAST})
_WRITE_AND_KEEP = frozenset({Right.WRITE_BROADCAST, Right.WRITE_PERSISTENCE})


class RestBroadcasts:
    """Takes broadcasts over HTTP and hands them to the broker."""

    def __init__(
        self,
        broker: Broker,
        stats: Stats,
        quota: MessageQuota,
        authorizer: ChannelAuthorizer,
        persistence: Persistence,
        *,
        payload_bytes_max: int,
    ) -> None:
        """Make it.

        Args:
            broker: Takes the messages.
            stats: Counts.
            quota: How many there may be.
            authorizer: Says who may write to private topics.
            persistence: Keeps messages for replay.
            payload_bytes_max: Of one payload.
        """
        self._broker = broker
        self._stats = stats
        self._quota = quota
        self._authorizer = authorizer
        self._persistence = persistence
        self._tasks = TaskSet()
        self.payload_bytes_max = payload_bytes_max

    async def send_batch(
        self, entries: Sequence[BatchEntry], claims: Claims, headers: Mapping[str, str]
    ) -> Outcome:
        """Send what the caller may send of a batch.

        Rights are asked for once for each distinct private topic.
        """
        answer = self._quota.ask(len(entries))
        if answer.refusal:
            return Outcome(Refusal(_TOO_MANY, answer.refusal), answer.headers)
        topics = {
            (entry.topic, entry.private): Topic.parse(PREFIX + entry.topic, private=entry.private)
            for entry in entries
        }
        private = [topic for topic in topics.values() if topic.private]
        try:
            rights = await self._judge(private, claims, headers, _WRITE)
        except _RefusedError as error:
            return Outcome(error.refusal, answer.headers)
        allowed = {topic.key for topic in topics.values() if not topic.private}
        allowed |= {
            topic.key
            for topic, judged in zip(private, rights, strict=True)
            if Right.WRITE_BROADCAST in judged.granted
        }
        for entry in entries:
            key = topics[entry.topic, entry.private].key
            if key not in allowed:
                self._stats.broadcasts_refused_total += 1
            elif not self._publish(Message(key, "", entry.envelope, is_envelope=True)):
                return Outcome(NOT_TAKEN, answer.headers)
        return Outcome(None, answer.headers)

    async def send_one(
        self,
        message: SingleBroadcast,
        *,
        claims: Claims,
        headers: Mapping[str, str],
    ) -> Outcome:
        """Send one broadcast, and keep it where that is asked for and allowed."""
        answer = self._quota.ask(1)
        if answer.refusal:
            return Outcome(Refusal(_TOO_MANY, answer.refusal), answer.headers)
        may_keep = False
        if message.topic.private:
            wanted = _WRITE if message.ttl_s is None else _WRITE_AND_KEEP
            try:
                (rights,) = await self._judge([message.topic], claims, headers, wanted)
            except _RefusedError as error:
                return Outcome(error.refusal, answer.headers)
            if Right.WRITE_BROADCAST not in rights.granted:
                self._stats.broadcasts_refused_total += 1
                return Outcome(_refusal_of(rights), answer.headers)
            may_keep = Right.WRITE_PERSISTENCE in rights.granted
        row_id = self._persistence.new_id() if may_keep else ""
        is_taken = self._publish(
            Message(
                message.topic.key,
                message.event,
                message.body,
                encoding=message.encoding,
                meta=payloads.row_meta(row_id) if may_keep else b"",
                row_id=row_id,
            )
        )
        if is_taken and may_keep and message.ttl_s is not None:
            self._tasks.spawn(self._keep(message, row_id, message.ttl_s), _KEEP)
        return Outcome(None if is_taken else NOT_TAKEN, answer.headers)

    async def close(self) -> None:
        """Give up what waits to be kept."""
        await self._tasks.close()

    def topic(self, sub_topic: str, *, private: bool) -> Topic | None:
        """The topic of this name; None when there can be none."""
        try:
            return Topic.parse(PREFIX + sub_topic, private=private)
        except InvalidTopicError:
            return None

    async def _judge(
        self,
        topics: Sequence[Topic],
        claims: Claims,
        headers: Mapping[str, str],
        wanted: frozenset[Right],
    ) -> list[ChannelRights]:
        """What the caller may do on private topics.

        Raises:
            _RefusedError: Nobody can say.
        """
        if not topics:
            return []
        shown = policy_headers(headers)
        try:
            return await self._authorizer.judge(
                [question_of(topic, claims, shown, wanted) for topic in topics]
            )
        except DatabaseUnavailableError:
            raise _RefusedError(NO_DATABASE) from None
        except LimitReachedError:
            raise _RefusedError(TOO_MANY_ASK) from None

    async def _keep(self, message: SingleBroadcast, row_id: str, ttl_s: int) -> None:
        await self._persistence.keep(
            row_id,
            message.topic.sub_topic,
            message.event,
            message.body,
            message.encoding,
            ttl_s=ttl_s,
        )

    def _publish(self, message: Message) -> bool:
        try:
            self._broker.publish(message)
        except BrokerUnavailableError:
            self._stats.broadcasts_refused_total += 1
            return False
        self._stats.http_broadcasts_total += 1
        return True


def _refusal_of(rights: ChannelRights) -> Refusal:
    if rights.problem is None or Right.WRITE_BROADCAST not in rights.failed:
        return UNAUTHORIZED
    status = 500 if rights.problem is Problem.SETTINGS else 422
    return Refusal(status, _PROBLEMS[rights.problem])


class _RefusedError(Exception):
    """Nothing is sent, for `refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
