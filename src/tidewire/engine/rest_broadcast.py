"""Broadcasts that come over HTTP, from people who have joined nothing.

A batch goes out as far as its sender may write: private messages that he may not write are
passed over, and he is not told (wire specification 4.7). A single broadcast is refused instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidewire.core.errors import BrokerUnavailableError, InvalidTopicError
from tidewire.core.message import Message, PayloadEncoding
from tidewire.core.topic import PREFIX, Topic
from tidewire.engine.quota import MessageQuota
from tidewire.engine.stats import Stats
from tidewire.ports.broker import Broker
from tidewire.ports.token_verifier import Claims
from tidewire.protocol.phoenix.broadcast_batch import BatchEntry

_UNBOUND_ROLE = "service_role"


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
_TOO_MANY = 429


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        refusal: None when it was accepted.
        headers: For the answer, whichever it is: how fast messages come.
    """

    refusal: Refusal | None
    headers: dict[str, str]


class RestBroadcasts:
    """Takes broadcasts over HTTP and hands them to the broker."""

    def __init__(
        self, broker: Broker, stats: Stats, quota: MessageQuota, *, payload_bytes_max: int
    ) -> None:
        self._broker = broker
        self._stats = stats
        self._quota = quota
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
        allowed: set[str] = set()
        for topic in topics.values():
            if not topic.private or await self._may_write(topic, claims, headers):
                allowed.add(topic.key)
        for entry in entries:
            key = topics[entry.topic, entry.private].key
            if key not in allowed:
                self._stats.broadcasts_refused_total += 1
            elif not self._publish(Message(key, "", entry.envelope, is_envelope=True)):
                return Outcome(NOT_TAKEN, answer.headers)
        return Outcome(None, answer.headers)

    async def send_one(
        self,
        topic: Topic,
        event: str,
        body: bytes,
        encoding: PayloadEncoding,
        *,
        claims: Claims,
        headers: Mapping[str, str],
    ) -> Outcome:
        """Send one broadcast."""
        answer = self._quota.ask(1)
        if answer.refusal:
            return Outcome(Refusal(_TOO_MANY, answer.refusal), answer.headers)
        if topic.private and not await self._may_write(topic, claims, headers):
            self._stats.broadcasts_refused_total += 1
            return Outcome(UNAUTHORIZED, answer.headers)
        is_taken = self._publish(Message(topic.key, event, body, encoding=encoding))
        return Outcome(None if is_taken else NOT_TAKEN, answer.headers)

    def topic(self, sub_topic: str, *, private: bool) -> Topic | None:
        """The topic of this name; None when there can be none."""
        try:
            return Topic.parse(PREFIX + sub_topic, private=private)
        except InvalidTopicError:
            return None

    async def _may_write(self, topic: Topic, claims: Claims, headers: Mapping[str, str]) -> bool:
        del topic, headers
        return claims.role == _UNBOUND_ROLE

    def _publish(self, message: Message) -> bool:
        try:
            self._broker.publish(message)
        except BrokerUnavailableError:
            self._stats.broadcasts_refused_total += 1
            return False
        self._stats.http_broadcasts_total += 1
        return True
