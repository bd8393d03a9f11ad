"""What private channels may do, and that it stays so while they are open.

Theory of operation. The policies of the database say who may read and write on a topic; the
authorizer evaluates them. They are asked at the join, again when a token is put in force, and
again when policies, grants, memberships or functions changed: each answer bears the *state* of
the catalogue that it follows from, and every open channel whose answer bears another state than
the present one is asked about anew. That the state may have changed is told by the stream where
event triggers can be had; everywhere it is read every `poll_s` while private channels are open.
The stream may be ahead of what queries see by a moment, so after word of a change the state is read
a few times before it counts as the same.

An answer counts only when nothing newer was asked for the channel. A channel that may read less
than before is closed and told why, before anything more is delivered to it. While a new token's
rights are unknown, what the client sends waits: it goes by the new rights or not at all.

Source: wire specification 3.8, 3.9, 4.2 to 4.4, 5.3, 7.3 to 7.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping

import msgspec

from tidewire.core.errors import DatabaseUnavailableError, LimitReachedError, UnavailableError
from tidewire.core.topic import Topic
from tidewire.engine.channel import Channel
from tidewire.engine.hub import Hub
from tidewire.engine.presence import Presence
from tidewire.engine.stats import Stats
from tidewire.engine.tasks import TaskSet
from tidewire.ports.channel_authorizer import (
    WRITE_RIGHTS,
    ChannelAuthorizer,
    ChannelRights,
    Problem,
    Right,
    RightsQuestion,
)
from tidewire.ports.token_verifier import Claims
from tidewire.protocol.phoenix import codes, payloads
from tidewire.protocol.phoenix.frame import ClientFrame

logger = logging.getLogger(__name__)

SWEEP_SLICE = 500
"""Channels asked about at once; the next ones wait for their answers."""

SWEEP_PAUSE_S = 0.2
"""Between two looks at the state, however many changes are told."""

LOOKS = 5
"""Looks at the state after word of a change."""

RETRY_MIN_S, RETRY_MAX_S = 0.1, 2.0
HELD_FRAMES_MAX = 100
HELD_BYTES_MAX = 1 << 20
"""What a client may send while its new rights are unknown; more is refused."""

NO_HEADERS = "{}"
_READS = frozenset({Right.READ_BROADCAST, Right.READ_PRESENCE})


class Rights:
    """Rights of this node's private channels."""

    def __init__(
        self,
        authorizer: ChannelAuthorizer,
        *,
        hub: Hub,
        presence: Presence,
        tasks: TaskSet,
        stats: Stats,
        rng: random.Random,
        shut_down: Callable[[Channel, str], None],
        poll_s: float,
        give_up_s: float,
    ) -> None:
        """Make it; `run` must run beside.

        Args:
            authorizer: Evaluates policies.
            hub: Where channels hear what they may.
            presence: Shows who is there to those who may see it.
            tasks: Owns what waits.
            stats: Counts.
            rng: For the jitter of retries.
            shut_down: Closes a channel, saying why.
            poll_s: Seconds between looks at the state while private channels are open.
            give_up_s: Seconds after which a new token whose rights are not answered closes its
                channel.
        """
        self._authorizer = authorizer
        self._hub = hub
        self._presence = presence
        self._tasks = tasks
        self._stats = stats
        self._rng = rng
        self._shut_down = shut_down
        self._poll_s = poll_s
        self._give_up_s = give_up_s
        self._open: dict[Channel, None] = {}
        self._state = ""
        self._told = 0
        self._looks = 0
        self._due = asyncio.Event()
        self._any_open = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    # ------------------------------------------------------------ joins

    async def refuse_join(self, channel: Channel, topic: Topic, *, presence: bool) -> str:
        """Find out what a channel that wants to join may do.

        Returns:
            Why it may not; "" when it may, and its rights are set.

        Raises:
            DatabaseUnavailableError: Nobody can say.
            LimitReachedError: Too many ask.
        """
        channel.wants_presence = presence
        channel.rights_told = self._told
        channel.rights = await self._ask(channel, topic)
        if channel.rights.may_read:
            return ""
        return _join_refusal(channel.rights, topic)

    async def refuse_since(self, channel: Channel, topic: Topic) -> str:
        """Ask again when something changed since `refuse_join`, before anything is given.

        Returns:
            As `refuse_join`.

        Raises:
            DatabaseUnavailableError: Nobody can say.
            LimitReachedError: Too many ask.
        """
        told, rights = channel.rights_told, channel.rights
        assert rights is not None
        is_other = bool(self._state) and rights.state != self._state
        for _ in range(LOOKS):
            if told == self._told and not is_other:
                break
            told, is_other = self._told, False
            rights = channel.rights = await self._ask(channel, topic)
            if not rights.may_read:
                return _join_refusal(rights, topic)
        return ""

    def opened(self, channel: Channel) -> None:
        """A private channel is joined."""
        assert channel.rights is not None
        self._open[channel] = None
        self._any_open.set()
        self._state = self._state or channel.rights.state
        if channel.rights.state != self._state or channel.rights_told != self._told:
            self._look_soon()  # something changed while it joined

    def closed(self, channel: Channel) -> None:
        """A channel ended."""
        self._open.pop(channel, None)
        if not self._open:
            self._any_open.clear()
            self._due.clear()
            self._state = ""

    # ------------------------------------------------------------ new tokens, new wishes

    def refresh(self, channel: Channel) -> None:
        """Bring a channel to the rights of its new token; what it sends waits until then."""
        if channel.rights is None:
            return
        if channel.held is None:
            channel.held = []
        self._tasks.spawn(self._ask_anew(channel), "rights of a token")

    def want_presence(self, channel: Channel) -> None:
        """A channel that was joined without presence tracks: from now on it sees others, too."""
        if channel.wants_presence or channel.rights is None:
            return
        channel.wants_presence = True
        self._tasks.spawn(self._ask_anew(channel), "rights of presence")

    def hold(self, channel: Channel, frame: ClientFrame) -> None:
        """Keep a push until the channel's rights are known; beyond the bound it is refused."""
        assert channel.held is not None
        size = sum([len(held.payload) for held in channel.held]) + len(frame.payload)
        if len(channel.held) < HELD_FRAMES_MAX and size <= HELD_BYTES_MAX:
            channel.held.append(frame)
            return
        self._stats.pushes_unauthorized_total += 1
        if frame.event == "presence" or channel.acknowledges:
            why = {} if frame.event == "presence" else {"error": Problem.SETTINGS.value}
            answer = payloads.reply_error(why)
            channel.peer.send(
                frame.topic, "phx_reply", answer, join_ref=channel.join_ref, ref=frame.ref
            )

    # ------------------------------------------------------------ changes of policies

    def on_message(self, content: bytes) -> None:
        """The stream tells of a change of the catalogue."""
        del content
        self.on_gap()

    def on_gap(self) -> None:
        """The catalogue may have changed."""
        self._told += 1
        if self._open:
            self._look_soon()

    def _look_soon(self) -> None:
        self._looks = LOOKS
        self._due.set()

    async def run(self) -> None:
        """Keep rights in step with policies until cancelled."""
        failures = 0
        while True:
            await self._any_open.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._due.wait()
            self._due.clear()
            if not self._open:
                continue
            try:
                await self._sweep()
                failures = 0
            except (UnavailableError, LimitReachedError) as error:
                logger.warning("rights wait for the database", extra={"reason": str(error)})
                failures += 1
                self._look_soon()
                await asyncio.sleep(self._delay_s(failures))
            self._looks -= 1
            if self._looks > 0:
                self._due.set()
            await asyncio.sleep(SWEEP_PAUSE_S)

    async def _sweep(self) -> None:
        """Ask anew about every channel whose rights follow from another state."""
        self._state = state = await self._authorizer.state()
        stale = [
            channel
            for channel in self._open
            # One whose token's rights are being asked for is compared when the answer is there.
            if channel.held is None and channel.rights is not None and channel.rights.state != state
        ]
        if stale:
            logger.info("policies changed", extra={"channels": len(stale)})
        for start in range(0, len(stale), SWEEP_SLICE):
            part = stale[start : start + SWEEP_SLICE]
            channels = [channel for channel in part if channel.is_open and channel.held is None]
            asked = [_begin(channel) for channel in channels]
            questions = [_question(channel, _topic_of(channel)) for channel in channels]
            self._stats.rights_asked_total += len(questions)
            answers = await self._authorizer.judge(questions)
            for channel, number, answer in zip(channels, asked, answers, strict=True):
                self._settle(channel, number, answer)

    # ------------------------------------------------------------ asking and settling

    async def _ask(self, channel: Channel, topic: Topic) -> ChannelRights:
        self._stats.rights_asked_total += 1
        (answer,) = await self._authorizer.judge([_question(channel, topic)])
        return answer

    async def _ask_anew(self, channel: Channel) -> None:
        """Ask until there is an answer; without one in time the channel ends."""
        number = _begin(channel)
        try:
            async with asyncio.timeout(self._give_up_s):
                answer = await self._insist(channel, number)
        except TimeoutError:
            if channel.is_open and channel.rights_asked == number:
                self._shut_down(channel, codes.NO_DATABASE)
            return
        if answer is not None:
            self._settle(channel, number, answer)

    async def _insist(self, channel: Channel, number: int) -> ChannelRights | None:
        failures = 0
        while channel.is_open and channel.rights_asked == number:
            try:
                return await self._ask(channel, _topic_of(channel))
            except (DatabaseUnavailableError, LimitReachedError):
                failures += 1
            await asyncio.sleep(self._delay_s(failures))
        return None

    def _delay_s(self, failures: int) -> float:
        longest_s = min(RETRY_MIN_S * 2 ** min(failures, 10), RETRY_MAX_S)
        return longest_s * self._rng.uniform(0.5, 1.0)

    def _settle(self, channel: Channel, number: int, rights: ChannelRights) -> None:
        """Put an answer in force, unless something newer is asked. Nothing here waits."""
        before = channel.rights
        if not channel.is_open or channel.rights_asked != number or before is None:
            return
        assert channel.room is not None
        topic = channel.room.topic
        lost = (before.granted & _READS) - rights.granted
        if lost or not rights.may_read:
            self._stats.rights_lost_total += 1
            self._shut_down(channel, _loss(rights, topic))
            return
        channel.rights = rights
        if rights.state != self._state:
            self._due.set()
        self._hub.place(
            channel.room,
            channel,
            broadcasts=channel.hears_broadcasts,
            presence=channel.hears_presence,
        )
        if Right.WRITE_PRESENCE not in rights.granted:
            self._presence.untrack(channel)
        if channel.hears_presence and Right.READ_PRESENCE not in before.granted:
            self._presence.send_state(channel)
        held, channel.held = channel.held, None
        if held:
            channel.peer.carry_out(held)


def policy_headers(headers: Mapping[str, str]) -> str:
    """The headers that policies may read, as JSON: those whose names begin with ``x-``."""
    shown = {name: value for name, value in headers.items() if name.startswith("x-")}
    return msgspec.json.encode(shown).decode() if shown else NO_HEADERS


def question_of(
    topic: Topic, claims: Claims, headers: str, wanted: frozenset[Right]
) -> RightsQuestion:
    """What somebody with these claims may do on a topic."""
    text = msgspec.json.encode(claims.values).decode()
    return RightsQuestion(topic.sub_topic, claims.role, text, headers, wanted)


def _question(channel: Channel, topic: Topic) -> RightsQuestion:
    wanted = WRITE_RIGHTS | {Right.READ_BROADCAST}
    if channel.wants_presence:
        wanted |= {Right.READ_PRESENCE}
    return question_of(topic, channel.claims, channel.peer.policy_headers, wanted)


def _topic_of(channel: Channel) -> Topic:
    assert channel.room is not None
    return channel.room.topic


def _begin(channel: Channel) -> int:
    """Number a question: an answer to an earlier one counts no longer."""
    channel.rights_asked += 1
    return channel.rights_asked


def _join_refusal(rights: ChannelRights, topic: Topic) -> str:
    if rights.problem is Problem.PARTITION:
        return codes.MISSING_PARTITION
    if rights.problem is Problem.CANCELED:
        return codes.QUERY_CANCELED
    return f"Unauthorized: {codes.may_not_read(topic.sub_topic)}"


def _loss(rights: ChannelRights, topic: Topic) -> str:
    if rights.problem is Problem.CANCELED:
        return codes.QUERY_WAS_CANCELLED
    if rights.may_read:
        return codes.may_no_longer_read(topic.sub_topic)
    return codes.may_not_read(topic.sub_topic)
