"""Rights on private channels, and that they stay true while channels are open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from tests.support.house import Client, House
from tests.support.until import until
from tests.unit.engine.test_history import GatedStore, stored
from tidewire.core.errors import DatabaseUnavailableError, LimitReachedError
from tidewire.engine import rights as module
from tidewire.engine.rights import HELD_FRAMES_MAX, policy_headers
from tidewire.ports.channel_authorizer import (
    ALL_RIGHTS,
    WRITE_RIGHTS,
    ChannelRights,
    Problem,
    Right,
    RightsQuestion,
)

TOPIC = "realtime:room:1"
HEAR, SEE = Right.READ_BROADCAST, Right.READ_PRESENCE
SPEAK, TRACK = Right.WRITE_BROADCAST, Right.WRITE_PRESENCE
PRESENT = {"private": True, "presence": {"enabled": True}}
PUSH = {"type": "broadcast", "event": "e", "payload": {"n": 1}}
MAY_NOT = "You do not have permissions to read from this Channel topic: room:1"
NO_LONGER = "You no longer have permission to read from this Channel topic: room:1"

Grant = Callable[[RightsQuestion], frozenset[Right]]


class Gated:
    """An authorizer that a test holds back or makes fail; it remembers what it was asked."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.version = 0
        self.asked: list[RightsQuestion] = []
        self.states_read = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.problem: Problem | None = None

    def change(self, grant: Grant) -> None:
        self.grant = grant
        self.version += 1

    async def judge(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        self.asked += questions
        state = str(self.version)
        answers = [
            ChannelRights(
                self.grant(question) & question.wanted,
                question.wanted - self.grant(question) if self.problem else frozenset(),
                state,
                self.problem,
            )
            for question in questions
        ]
        await self.gate.wait()
        if self.error:
            raise self.error
        return answers

    async def state(self) -> str:
        self.states_read += 1
        return str(self.version)


def by_role(**grants: set[Right] | frozenset[Right]) -> Grant:
    return lambda question: frozenset(grants.get(question.role, frozenset()))


@pytest.fixture
async def gated(monkeypatch: pytest.MonkeyPatch) -> Gated:
    monkeypatch.setattr(module, "SWEEP_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "RETRY_MIN_S", 0.001)
    return Gated(by_role(anon=ALL_RIGHTS))


@pytest.fixture
async def house(gated: Gated) -> AsyncIterator[House]:
    house = House()
    house.node.rights._authorizer = gated
    running = asyncio.create_task(house.node.rights.run())
    yield house
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await house.node._tasks.close()


async def join(house: House, config: object = None, *, role: str = "anon") -> Client:
    client = house.connect(token=house.token(role))
    ref = client.join(TOPIC, config or {"private": True})
    await house.settle()
    assert client.reply(ref)["status"] == "ok"
    return client


def told(client: Client) -> list[str]:
    return [payload["message"] for payload in client.events("system")]


# ------------------------------------------------------------ joins


async def test_all_rights_are_asked_for_at_once_and_presence_to_read_only_when_wanted(
    house: House, gated: Gated
) -> None:
    await join(house)
    await join(house, PRESENT)
    assert [q.wanted for q in gated.asked] == [WRITE_RIGHTS | {HEAR}, ALL_RIGHTS]
    assert (gated.asked[0].topic, gated.asked[0].role) == ("room:1", "anon")


async def test_headers_that_begin_with_x_go_to_the_policies(house: House, gated: Gated) -> None:
    assert policy_headers({"x-team": "red", "cookie": "c"}) == '{"x-team":"red"}'
    assert policy_headers({"cookie": "c"}) == "{}"
    client = await join(house)
    assert client.connection.policy_headers == "{}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DatabaseUnavailableError("away"), "UnableToConnectToProject: Realtime was unable"),
        (LimitReachedError("full"), "IncreaseConnectionPool: "),
    ],
)
async def test_a_join_whose_rights_cannot_be_asked_for_says_why(
    house: House, gated: Gated, error: Exception, reason: str
) -> None:
    gated.error = error
    client = house.connect()
    ref = client.join(TOPIC, {"private": True})
    await house.settle()
    assert client.reply(ref)["response"]["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (Problem.POLICY, f"Unauthorized: {MAY_NOT}"),
        (Problem.SETTINGS, f"Unauthorized: {MAY_NOT}"),
        (Problem.CANCELED, "QueryCanceled: "),
        (Problem.PARTITION, "MissingPartition: "),
    ],
)
async def test_a_join_that_could_not_be_judged_is_refused(
    house: House, gated: Gated, problem: Problem, reason: str
) -> None:
    gated.grant, gated.problem = by_role(), problem
    client = house.connect()
    ref = client.join(TOPIC, {"private": True})
    await house.settle()
    assert client.reply(ref)["response"]["reason"].startswith(reason)


@pytest.mark.parametrize("end", ["leave", "close", "join again"])
async def test_a_join_that_waits_for_its_rights_can_be_ended(
    house: House, gated: Gated, end: str
) -> None:
    gated.gate.clear()
    client = house.connect()
    first = client.join(TOPIC, {"private": True})
    await house.settle()
    if end == "leave":
        client.send(TOPIC, "phx_leave", {})
    elif end == "close":
        client.end(1000)
    else:
        client.join(TOPIC)
    gated.gate.set()
    await house.settle()
    assert not [frame for frame in client.frames() if frame[1] == first]
    assert house.stats.channels == (end == "join again")
    assert not len(house.node.rights)


async def test_only_private_channels_are_let_in_where_that_is_set() -> None:
    house = House(private_only=True)
    client = house.connect(token=house.token("service_role"))
    public = client.join(TOPIC)
    private = client.join(TOPIC, {"private": True})
    await house.settle()
    expected = "PrivateOnly: This project only allows private channels"
    assert client.reply(public)["response"]["reason"] == expected
    assert client.reply(private)["status"] == "ok"


# ------------------------------------------------------------ who hears and says what


async def test_members_hear_what_their_rights_are_for(house: House, gated: Gated) -> None:
    gated.grant = by_role(anon=ALL_RIGHTS, ears={HEAR}, eyes={SEE}, service_role={HEAR, SEE, SPEAK})
    both, ears, eyes, speaker = [
        await join(house, PRESENT, role=role) for role in ("anon", "ears", "eyes", "service_role")
    ]
    speaker.send(TOPIC, "broadcast", PUSH)
    both.send(TOPIC, "presence", {"event": "track", "payload": {"a": 1}})
    await house.settle()
    heard = [len(c.events("broadcast")) for c in (both, ears, eyes, speaker)]
    seen = [len(c.events("presence_diff")) for c in (both, ears, eyes, speaker)]
    states = [len(c.events("presence_state")) for c in (both, ears, eyes, speaker)]
    assert (heard, seen, states) == ([1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1])


async def test_denied_pushes_are_counted_and_answered_where_an_answer_was_asked_for(
    house: House, gated: Gated
) -> None:
    gated.grant = by_role(anon={HEAR})
    listener = await join(house)
    client = await join(house, {"private": True, "broadcast": {"ack": True}})
    broadcast = client.send(TOPIC, "broadcast", PUSH)
    track = client.send(TOPIC, "presence", {"event": "track", "payload": {}})
    listener.send(TOPIC, "broadcast", PUSH)
    await house.settle()
    assert client.reply(broadcast) == {"status": "error", "response": {"error": "unauthorized"}}
    assert client.reply(track) == {"status": "error", "response": {}}
    assert house.stats.pushes_unauthorized_total == 3
    assert len(listener.frames()) == 1, "nothing but the join's reply"


async def test_a_push_that_could_not_be_judged_says_so(house: House, gated: Gated) -> None:
    gated.grant, gated.problem = by_role(anon={HEAR}), Problem.POLICY
    client = await join(house, {"private": True, "broadcast": {"ack": True}})
    ref = client.send(TOPIC, "broadcast", PUSH)
    assert client.reply(ref)["response"] == {"error": "rls_policy_error"}


async def test_to_track_without_presence_at_the_join_asks_for_it_then(
    house: House, gated: Gated
) -> None:
    client, quiet = await join(house), await join(house)
    ref = client.send(TOPIC, "presence", {"event": "track", "payload": {"a": 1}})
    assert client.reply(ref)["status"] == "ok", "the answer does not wait"
    await house.settle()
    assert gated.asked[-1].wanted == ALL_RIGHTS
    assert list(client.events("presence_state")[0]) != []
    assert quiet.events("presence_diff") == []
    client.send(TOPIC, "presence", {"event": "track", "payload": {"a": 2}})
    await house.settle()
    assert len(gated.asked) == 3, "asked for once"
    assert len(client.events("presence_diff")) == 1


# ------------------------------------------------------------ new tokens


def refresh(client: Client, role: str, **claims: Any) -> None:
    token = client.house.token(role, **claims)
    client.send(TOPIC, "access_token", {"access_token": token})


@pytest.mark.parametrize(
    ("left", "message"), [(frozenset[Right](), MAY_NOT), (frozenset({SEE}), NO_LONGER)]
)
async def test_a_token_that_may_read_less_ends_the_channel(
    house: House, gated: Gated, left: frozenset[Right], message: str
) -> None:
    gated.grant = by_role(anon=ALL_RIGHTS, other=left)
    client, speaker = await join(house, PRESENT), await join(house)
    refresh(client, "other")
    speaker.send(TOPIC, "broadcast", PUSH)
    await house.settle()
    assert told(client) == [message]
    assert client.frames()[-1][3] == "phx_close"
    after = [f[3] for f in client.frames()]
    assert "broadcast" not in after[after.index("system") :]
    assert (house.stats.channels, house.stats.rights_lost_total) == (1, 1)


async def test_nothing_that_is_on_its_way_is_delivered_once_rights_are_lost(
    house: House, gated: Gated
) -> None:
    gated.grant = by_role(anon=ALL_RIGHTS)
    client, speaker = await join(house), await join(house)
    channel = client.connection.channels[TOPIC]
    number = module._begin(channel)
    speaker.send(TOPIC, "broadcast", PUSH)
    house.node.rights._settle(channel, number, ChannelRights())
    await house.settle()
    assert client.events("broadcast") == []
    assert told(client) == [MAY_NOT]


async def test_what_is_sent_after_a_new_token_goes_by_its_rights(
    house: House, gated: Gated
) -> None:
    gated.grant = by_role(reader={HEAR}, writer={HEAR, SPEAK})
    listener = await join(house, role="reader")
    client = await join(house, role="reader")
    gated.gate.clear()
    refresh(client, "writer")
    for number in range(3):
        client.send(TOPIC, "broadcast", {**PUSH, "payload": {"n": number}})
    await house.settle()
    assert listener.events("broadcast") == []
    gated.gate.set()
    await house.settle()
    assert [b["payload"]["n"] for b in listener.events("broadcast")] == [0, 1, 2]


async def test_more_than_may_wait_is_refused(house: House, gated: Gated) -> None:
    listener = await join(house)
    client = await join(house, {"private": True, "broadcast": {"ack": True}})
    gated.gate.clear()
    refresh(client, "anon", sub="x")
    refs = [client.send(TOPIC, "broadcast", PUSH) for _ in range(HELD_FRAMES_MAX + 2)]
    track = client.send(TOPIC, "presence", {"event": "track", "payload": {}})
    await house.settle()
    assert client.reply(track) == {"status": "error", "response": {}}
    gated.gate.set()
    await house.settle()
    replies = [client.reply(ref)["status"] for ref in refs]
    assert replies == ["ok"] * HELD_FRAMES_MAX + ["error"] * 2
    assert len(listener.events("broadcast")) == HELD_FRAMES_MAX


async def test_of_several_tokens_only_the_newest_counts(house: House, gated: Gated) -> None:
    gated.grant = by_role(anon=ALL_RIGHTS, nobody=frozenset(), other={HEAR})
    client = await join(house)
    gated.gate.clear()
    refresh(client, "nobody")
    await house.settle()
    refresh(client, "other")
    await house.settle()
    gated.gate.set()
    await house.settle()
    assert told(client) == []
    rights = client.connection.channels[TOPIC].rights
    assert rights is not None
    assert rights.granted == {HEAR}


async def test_without_an_answer_for_too_long_the_channel_ends(gated: Gated) -> None:
    house = House(join_timeout_s=0.05)
    house.node.rights._authorizer = gated
    client = await join(house)
    gated.error = DatabaseUnavailableError("away")
    refresh(client, "anon", sub="x")
    await until(lambda: told(client))
    assert told(client) == ["Realtime was unable to connect to the project database"]
    await house.node._tasks.close()


async def test_a_database_that_comes_back_in_time_ends_nothing(house: House, gated: Gated) -> None:
    client = await join(house)
    gated.error = DatabaseUnavailableError("away")
    refresh(client, "anon", sub="x")
    await until(lambda: len(gated.asked) > 2)
    gated.error = None
    await until(lambda: client.connection.channels[TOPIC].held is None)
    assert told(client) == []


# ------------------------------------------------------------ changed policies


async def test_a_change_that_the_stream_tells_of_acts_at_once(house: House, gated: Gated) -> None:
    house.node.rights._poll_s = 1000.0
    client, keeper = await join(house), await join(house, role="anon")
    gated.change(by_role(anon=frozenset()))
    house.node.rights.on_message(b"{}")
    await until(lambda: told(client) and told(keeper))
    assert told(client) == [MAY_NOT]
    assert house.stats.channels == 0


async def test_a_change_that_is_told_before_queries_see_it_is_found_soon(
    house: House, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_PAUSE_S", 0.1)
    house.node.rights._poll_s = 1000.0
    client = await join(house)
    house.node.rights.on_message(b"{}")
    await until(lambda: gated.states_read >= 1)
    gated.change(by_role(anon=frozenset()))
    await until(lambda: told(client))


async def test_word_of_a_change_costs_few_looks(house: House, gated: Gated) -> None:
    house.node.rights._poll_s = 1000.0
    await join(house)
    house.node.rights.on_message(b"{}")
    await until(lambda: gated.states_read == module.LOOKS)
    for _ in range(10):
        await house.settle()
    assert gated.states_read == module.LOOKS


async def test_a_change_that_nobody_tells_of_is_found_by_looking(
    house: House, gated: Gated
) -> None:
    client = await join(house)
    gated.change(by_role(anon=frozenset()))
    await until(lambda: told(client))
    assert told(client) == [MAY_NOT]


async def test_what_a_changed_policy_gives_acts_without_a_new_join(
    house: House, gated: Gated
) -> None:
    gated.grant = by_role(anon={HEAR})
    client, listener = await join(house, PRESENT), await join(house)
    gated.change(by_role(anon=ALL_RIGHTS))
    house.node.rights.on_gap()
    await until(lambda: client.events("presence_state"))
    client.send(TOPIC, "broadcast", PUSH)
    await house.settle()
    assert len(listener.events("broadcast")) == 1


async def test_who_may_track_no_longer_is_not_shown_any_more(house: House, gated: Gated) -> None:
    client, watcher = await join(house, PRESENT), await join(house, PRESENT)
    client.send(TOPIC, "presence", {"event": "track", "payload": {"a": 1}})
    await house.settle()
    gated.change(by_role(anon=ALL_RIGHTS - {TRACK}))
    house.node.rights.on_gap()
    await until(lambda: len(watcher.events("presence_diff")) == 2)
    assert watcher.events("presence_diff")[1]["leaves"]
    assert told(client) == []


async def test_without_private_channels_nothing_is_read(house: House, gated: Gated) -> None:
    client = house.connect()
    client.join(TOPIC)
    house.node.rights.on_gap()
    await house.settle()
    private = await join(house)
    private.send(TOPIC, "phx_leave", {})
    await until(lambda: not len(house.node.rights))
    house.node.rights.on_gap()
    await house.settle()
    assert gated.states_read == 0
    assert not house.node.rights._any_open.is_set(), "the poll stands still"


async def test_a_join_during_a_change_is_looked_at_again(house: House, gated: Gated) -> None:
    """Its rights were evaluated before the change, and it came in after it was told."""
    house.node.rights._poll_s = 1000.0
    gated.gate.clear()
    client = house.connect()
    client.join(TOPIC, {"private": True})
    await house.settle()
    gated.change(by_role(anon=frozenset()))
    house.node.rights.on_gap()
    gated.gate.set()
    await until(lambda: told(client))
    assert told(client) == [MAY_NOT]


@pytest.mark.parametrize("left", [frozenset[Right](), frozenset({SEE})])
async def test_a_replay_is_not_given_to_who_was_shut_out_while_it_was_read(
    gated: Gated, left: frozenset[Right]
) -> None:
    store = GatedStore()
    store.messages = [stored(1)]
    store.gate.clear()
    house = House(store=store)
    house.node.rights._authorizer = gated
    client = house.connect()
    ref = client.join(TOPIC, {**PRESENT, "broadcast": {"replay": {}}})
    await house.settle()
    assert store.asked
    gated.change(by_role(anon=left))
    house.node.rights.on_message(b"{}")
    store.gate.set()
    await house.settle()
    assert client.reply(ref)["status"] == ("ok" if left else "error")
    assert client.events("broadcast") == []
    assert not house.history._reading
    await house.node._tasks.close()


async def test_a_sweep_waits_for_the_database_and_goes_on(house: House, gated: Gated) -> None:
    client = await join(house)
    gated.change(by_role(anon=frozenset()))
    gated.error = DatabaseUnavailableError("away")
    house.node.rights.on_gap()
    await until(lambda: len(gated.asked) > 2)
    assert told(client) == []
    gated.error = None
    await until(lambda: told(client))


async def test_unchanged_policies_cost_a_look_and_no_question(house: House, gated: Gated) -> None:
    await join(house)
    await until(lambda: gated.states_read > 2)
    assert len(gated.asked) == 1
