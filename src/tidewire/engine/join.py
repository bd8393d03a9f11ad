"""Joining and leaving a topic. Source: wire specification 3.

A join of a public channel without postgres_changes is answered at once. That of a private one
waits for its rights. One with postgres_changes is answered when its subscriptions are registered
and the stream is live: every row committed after the answer arrives.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid

from tidewire.core.clock import Clock
from tidewire.core.errors import (
    DatabaseUnavailableError,
    InvalidTopicError,
    LimitReachedError,
    TokenError,
    UnavailableError,
    UnknownKeyError,
)
from tidewire.core.topic import PREFIX, Topic
from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.channel import Channel, Peer, held_bytes
from tidewire.engine.expiry import Expiry
from tidewire.engine.history import History, Replay
from tidewire.engine.hub import Hub
from tidewire.engine.limits import Limits
from tidewire.engine.presence import Presence
from tidewire.engine.rights import Rights
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import SubscribeOutcome, Subscriptions
from tidewire.engine.tasks import TaskSet
from tidewire.engine.throttle import Throttle
from tidewire.ports.token_verifier import Claims, TokenVerifier
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame
from tidewire.protocol.phoenix.join_config import JoinConfig, ReplayWish, parse_join_config

logger = logging.getLogger(__name__)

REPLICATION_DEADLINE_S = 60.0
"""How long a channel that asks for it is kept waiting for the stream. Source: specification 3.7."""


class Joins:
    """Lets channels in and out."""

    def __init__(
        self,
        *,
        hub: Hub,
        presence: Presence,
        rights: Rights,
        private_only: bool,
        subscriptions: Subscriptions,
        router: ChangeRouter,
        verifier: TokenVerifier,
        history: History,
        expiry: Expiry,
        tasks: TaskSet,
        stats: Stats,
        limits: Limits,
        throttle: Throttle,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._hub = hub
        self._presence = presence
        self._rights = rights
        self._private_only = private_only
        self._subscriptions = subscriptions
        self._router = router
        self._verifier = verifier
        self._history = history
        self._expiry = expiry
        self._tasks = tasks
        self._stats = stats
        self._limits = limits
        self._throttle = throttle
        self._clock = clock
        self._rng = rng
        self.is_draining = False

    def join(self, peer: Peer, frame: ClientFrame, *, may_wait: bool = True) -> None:
        """Answer a phx_join, now or when its subscriptions are live.

        Args:
            peer: Whose.
            frame: The join.
            may_wait: Whether a token of an unknown signing key is worth a look for new ones.
        """
        config = parse_join_config(frame.payload)
        if config.problems:
            logger.info("InvalidJoinPayload", extra={"problems": config.problems})
        try:
            topic = self._admit(peer, frame, config)
            claims, token = self._identify(peer, config)
        except UnknownKeyError as error:
            if may_wait:
                self._join_later(peer, frame)
            else:
                self._refuse(peer, frame, codes.token_refused(error))
            return
        except _RefusedError as refusal:
            self._refuse(peer, frame, refusal.reason)
            return
        self._end_earlier(peer, frame.topic, may_return=True)
        channel = Channel(peer, frame.join_ref, claims, token)
        channel.joined_bytes = _size(frame)
        channel.acknowledges = config.broadcast_ack
        channel.hears_itself = config.broadcast_self
        channel.presence_key = config.presence_key or self._new_key()
        if not config.entries and not topic.private:  # a replay is for private ones alone
            self._open(channel, frame, topic, config)
            return
        work = self._prepare_and_open(channel, frame, topic, config)
        peer.joining[frame.topic] = self._tasks.spawn(work, f"join {peer.id}")

    def leave(self, peer: Peer, frame: ClientFrame) -> None:
        """Answer a phx_leave; one whose join_ref is another join's is ignored.

        The phx_close that follows goes only where frames carry a join_ref: without one, a client
        that has joined the topic again meanwhile would take it for its new channel's. Both stock
        clients close on the reply.
        """
        channel = peer.channels.get(frame.topic)
        if channel is not None and frame.join_ref not in (channel.join_ref, b"null"):
            return
        self._end_earlier(peer, frame.topic, may_return=False)
        join_ref = frame.join_ref if channel is not None else b"null"
        peer.send(frame.topic, "phx_reply", payloads.OK, join_ref=join_ref, ref=frame.ref)
        if channel is not None and peer.sends_join_refs:
            channel.push_close()

    def end(self, channel: Channel, *, may_return: bool) -> None:
        """Take a channel out of everything; nothing is sent to it any more."""
        room = channel.room
        if not channel.is_open or room is None:
            return
        channel.is_open = False
        self._expiry.forget(channel)
        self._history.forget(channel)
        self._stats.channels -= 1
        self._rights.closed(channel)
        self._hub.leave(room, channel)
        self._presence.release(channel, may_return=may_return)
        if channel.group is not None:
            self._stats.subscriptions -= 1
            self._subscriptions.unsubscribe(channel, channel.group)
            channel.group = None
        if channel.peer.channels.get(room.topic.wire_name) is channel:
            del channel.peer.channels[room.topic.wire_name]

    def shut_down(self, channel: Channel, message: str) -> None:
        """Close a channel from the server's side, saying why (wire specification 3.8)."""
        channel.push_system("system", "error", message)
        channel.push_close()
        self.end(channel, may_return=False)

    def _join_later(self, peer: Peer, frame: ClientFrame) -> None:
        """Join once the signing keys were looked at anew; meanwhile a former channel goes on."""
        pending = peer.joining.pop(frame.topic, None)
        if pending is not None:
            pending.cancel()

        async def look_and_join() -> None:
            try:
                await self._verifier.refresh_keys()
            finally:
                if peer.joining.get(frame.topic) is task:
                    del peer.joining[frame.topic]
            self.join(peer, frame, may_wait=False)

        task = self._tasks.spawn(look_and_join(), f"join {peer.id}")
        peer.joining[frame.topic] = task

    def _admit(self, peer: Peer, frame: ClientFrame, config: JoinConfig) -> Topic:
        """The topic of a join that may go on."""
        if self.is_draining:
            raise _RefusedError(codes.RESTARTING)
        if not frame.topic.startswith(PREFIX):
            raise _RefusedError(codes.UNMATCHED_TOPIC)
        try:
            topic = Topic.parse(frame.topic, private=config.private)
        except InvalidTopicError:
            raise _RefusedError(codes.TOPIC_NAME_REQUIRED) from None
        if self._private_only and not topic.private:
            raise _RefusedError(codes.PRIVATE_ONLY)
        if config.replay is not None and not topic.private:
            raise _RefusedError(codes.REPLAY_NOT_PRIVATE)
        if config.replay is not None and not config.replay.is_valid:
            raise _RefusedError(codes.REPLAY_INVALID)
        known = frame.topic in peer.channels or frame.topic in peer.joining
        count = len(peer.channels) + len(peer.joining)
        if not known and count >= self._limits.channels_per_connection_max:
            raise _RefusedError(codes.TOO_MANY_CHANNELS)
        if held_bytes(peer) + _size(frame) > self._limits.held_bytes_max:
            raise _RefusedError(codes.TOO_MUCH_HELD)
        if not self._throttle.admits_join(peer):
            raise _RefusedError(codes.TOO_MANY_JOINS)
        return topic

    def _identify(self, peer: Peer, config: JoinConfig) -> tuple[Claims, str]:
        """Whom the channel speaks for: verified anew at every join."""
        token = peer.token if config.access_token is None else config.access_token
        try:
            return self._verifier.verify(token, now_s=self._clock.wall_s()), token
        except UnknownKeyError:
            raise
        except TokenError as error:
            raise _RefusedError(codes.token_refused(error)) from None

    def _refuse(self, peer: Peer, frame: ClientFrame, reason: str) -> None:
        self._stats.joins_refused_total += 1
        unmatched = reason == codes.UNMATCHED_TOPIC
        peer.send(
            frame.topic,
            "phx_reply",
            payloads.reply_reason(reason),
            join_ref=b"null" if unmatched else frame.join_ref,
            ref=frame.ref,
        )

    def _end_earlier(self, peer: Peer, topic: str, *, may_return: bool) -> None:
        """A join ends an earlier one of the same topic, without a phx_close (3.11).

        Its presence lingers then, as after a broken connection, for the new one to take over.
        """
        pending = peer.joining.pop(topic, None)
        if pending is not None:
            pending.cancel()
        channel = peer.channels.get(topic)
        if channel is not None:
            self.end(channel, may_return=may_return)

    async def _prepare_and_open(
        self, channel: Channel, frame: ClientFrame, topic: Topic, config: JoinConfig
    ) -> None:
        peer = channel.peer
        task = asyncio.current_task()
        outcome: SubscribeOutcome | None = None
        replay: Replay | None = None
        reason, refusal = codes.INITIALIZING, ""
        try:
            async with asyncio.timeout(self._limits.join_timeout_s):
                reason = await self._why_not_entitled(channel, topic, config)
                if reason:
                    raise _RefusedError(reason)
                reason = codes.INITIALIZING
                if config.entries:
                    await self._router.wait_live()
                if config.replay is not None and channel.hears_broadcasts:
                    reason = codes.REPLAY_FAILED
                    replay = await self._read_replay(topic, config.replay)
                    reason = codes.INITIALIZING
                if config.entries:
                    outcome = await self._subscribe(channel, topic, config)
                if config.entries or replay is not None:  # it waited since rights were asked for
                    refusal = await self._why_not_entitled(channel, topic, None)
            reason = refusal or self._why_no_longer(channel, replay)
        except (TimeoutError, UnavailableError, _RefusedError):
            outcome = None
        except Exception:  # the edge of one join: its client must hear of it
            logger.exception("a join failed", extra={"connection": peer.id})
            reason = codes.JOIN_CRASHED
        finally:
            if peer.joining.get(frame.topic) is task:
                del peer.joining[frame.topic]
            if reason and replay is not None:
                self._history.dismiss(topic, replay)
        if not reason:
            self._open(channel, frame, topic, config, outcome, replay)
            return
        if outcome is not None and outcome.group is not None:
            self._subscriptions.unsubscribe(channel, outcome.group)
        self._refuse(peer, frame, reason)

    async def _why_not_entitled(
        self, channel: Channel, topic: Topic, config: JoinConfig | None
    ) -> str:
        """Why policies refuse a join; "" when they do not. Without `config`: by now."""
        if not topic.private:
            return ""
        try:
            if config is None:
                return await self._rights.refuse_since(channel, topic)
            return await self._rights.refuse_join(channel, topic, presence=config.presence_enabled)
        except DatabaseUnavailableError:
            return codes.JOIN_NO_DATABASE
        except LimitReachedError:
            return codes.TOO_MANY_ASK

    async def _subscribe(
        self, channel: Channel, topic: Topic, config: JoinConfig
    ) -> SubscribeOutcome:
        claims = channel.claims
        return await self._subscriptions.subscribe(
            channel, topic, config.entries, claims.role, claims=claims.values
        )

    async def _read_replay(self, topic: Topic, wish: ReplayWish) -> Replay:
        return await self._history.read(topic, since_ms=wish.since_ms, limit=wish.limit)

    def _why_no_longer(self, channel: Channel, replay: Replay | None) -> str:
        """Why a join that waited may not go on after all; "" when it may."""
        if replay is not None and replay.is_broken:
            return codes.REPLAY_FAILED
        if held_bytes(channel.peer) + channel.joined_bytes > self._limits.held_bytes_max:
            return codes.TOO_MUCH_HELD  # others that were under way at the same time took the room
        try:
            self._verifier.verify(channel.token, now_s=self._clock.wall_s())
        except TokenError as error:
            return codes.token_refused(error)  # it expired or was revoked meanwhile
        return ""

    def _open(
        self,
        channel: Channel,
        frame: ClientFrame,
        topic: Topic,
        config: JoinConfig,
        outcome: SubscribeOutcome | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Answer ok and let the channel in. Nothing here waits: no frame can come between."""
        peer = channel.peer
        channel.is_open = True
        channel.room = self._hub.enter(
            topic,
            channel,
            broadcasts=channel.hears_broadcasts,
            presence=channel.hears_presence,
        )
        peer.channels[channel.room.topic.wire_name] = channel
        self._stats.channels += 1
        self._stats.joins_total += 1
        if outcome is not None and outcome.group is not None:
            channel.group = outcome.group
            self._stats.subscriptions += 1
        answer = payloads.joined(outcome.echoes if outcome else [])
        peer.send(frame.topic, "phx_reply", answer, join_ref=frame.join_ref, ref=frame.ref)
        if config.presence_enabled and channel.hears_presence:
            self._presence.send_state(channel)
        self._history.welcome(channel, replay)
        for notice in outcome.system if outcome else ():
            channel.push_system("postgres_changes", notice.status, notice.message)
        self._expiry.watch(channel)
        if topic.private:
            self._rights.opened(channel)
        if config.replication_ready:
            self._tasks.spawn(self._tell_replication(channel), "replication ready")

    async def _tell_replication(self, channel: Channel) -> None:
        """Say when broadcasts from SQL arrive, or close the channel when they do not (3.7)."""
        try:
            async with asyncio.timeout(REPLICATION_DEADLINE_S):
                await self._router.wait_live()
        except TimeoutError:
            if channel.is_open:
                self.shut_down(channel, codes.REPLICATION_NOT_READY)
            return
        if channel.is_open:
            channel.push_system("system", "ok", codes.REPLICATION_READY)

    def _new_key(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _size(frame: ClientFrame) -> int:
    return len(frame.topic) + len(frame.payload)


class _RefusedError(Exception):
    """A join that is answered with `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
