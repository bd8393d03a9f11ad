"""Cohorts by themselves, and all of them under everything that can happen, against a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.changes import (
    TRIPS,
    House,
    Receiver,
    catalog,
    delete,
    insert,
    relation_of,
    rows_of,
    table,
    transaction,
    update,
)
from tests.support.scripted_policies import ScriptedAuthorizer, ScriptedPolicy
from tidewire.core.catalog import TableAccess
from tidewire.core.change import LogicalMessage, ReplicaIdentity
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.cohorts import Cohorts, rule_of
from tidewire.engine.fanout import push_frame

TABLE = table(has_row_security=True)
FULL = relation_of(TABLE, ReplicaIdentity.FULL)
ALL = {"event": "*", "schema": "public", "table": "trips"}
ENTRIES = [
    ALL, {**ALL, "leaves": True}, {**ALL, "filter": "note=eq.a"},
    {**ALL, "filter": "note=eq.a", "leaves": True},
]  # fmt: skip
WORDS = ["a", "b"]

BY_SUB = ScriptedPolicy(lambda c, r: c.get("sub") == r["status"], oid=TRIPS)


def org_owns(claims: dict[str, Any], row: dict[str, Any]) -> bool:
    return claims.get("org") == row["status"]


def either_owns(claims: dict[str, Any], row: dict[str, Any]) -> bool:
    return row["status"] in (claims.get("sub"), claims.get("org"))


POLICIES = [
    None,
    BY_SUB,
    ScriptedPolicy(org_owns, oid=TRIPS, claims=frozenset({"org"})),
    ScriptedPolicy(either_owns, oid=TRIPS, claims=None),
    ScriptedPolicy(lambda c, r: True, oid=TRIPS, claims=frozenset()),
]


async def test_channels_are_divided_no_further_than_claims_that_are_read() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    cohorts = Cohorts(lambda: Audience(fanout))
    people = [Receiver() for _ in range(6)]
    for number, person in enumerate(people):
        cohorts.add(person, {"sub": str(number % 3), "exp": number})
    assert len(cohorts.audiences) == 1
    assert cohorts.divide([BY_SUB])
    assert sorted(map(len, cohorts.audiences)) == [2, 2, 2]
    assert cohorts.keys(rule_of(BY_SUB)) == {b'{"sub":"%d"}' % number for number in range(3)}
    same = ScriptedPolicy(org_owns, oid=99)
    assert not cohorts.divide([BY_SUB, same])
    assert cohorts.divide([])
    assert list(map(len, cohorts.audiences)) == [6]


async def test_a_rule_that_is_not_in_force_has_no_keys() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    cohorts = Cohorts(lambda: Audience(fanout))
    cohorts.add(Receiver(), {})
    with pytest.raises(KeyError):
        cohorts.keys(rule_of(BY_SUB))
    with pytest.raises(KeyError):
        cohorts.by_key(rule_of(BY_SUB))


async def test_a_move_loses_doubles_and_reorders_nothing() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    cohorts = Cohorts(lambda: Audience(fanout))
    cohorts.divide([BY_SUB])
    ann, bob = Receiver(), Receiver()
    cohorts.add(ann, {"sub": "ann"})
    cohorts.add(bob, {"sub": "bob"})
    cohorts.offer(push_frame("realtime:x", "1", b"{}"))
    assert cohorts.refresh(ann, {"sub": "bob"})
    cohorts.offer(push_frame("realtime:x", "2", b"{}"))
    assert cohorts.divide([])
    cohorts.offer(push_frame("realtime:x", "3", b"{}"))
    fanout.flush()
    for person in (ann, bob):
        assert [event for event, _ in person.take()] == ["1", "2", "3"]


async def test_who_left_is_nowhere() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    cohorts = Cohorts(lambda: Audience(fanout))
    cohorts.divide([BY_SUB])
    ann = Receiver()
    cohorts.add(ann, {"sub": "ann"})
    cohorts.offer(push_frame("realtime:x", "1", b"{}"))
    assert cohorts.discard(ann)
    assert not cohorts.discard(ann)
    assert not cohorts.refresh(ann, {"sub": "bob"})
    fanout.flush()
    assert (ann.take(), len(cohorts), cohorts.audiences) == ([], 0, [])


async def test_a_thousand_refreshed_tokens_cost_nobody_a_change() -> None:
    """All refresh while changes flow, half with other claims; what both claims show comes once."""
    authorizer = ScriptedAuthorizer()
    authorizer.policies["anon", TRIPS] = ScriptedPolicy(
        either_owns, oid=TRIPS, claims=frozenset({"sub", "org"})
    )
    house = House(catalog(TABLE), authorizer)
    people = []
    for number in range(1_000):
        claims = {"sub": f"{number % 10}", "org": f"o{number}", "exp": 1}
        people.append((*await house.join(ALL, claims=claims), number))
    refreshing = iter(people)
    judge = authorizer.judge

    async def judge_while_some_refresh(questions: Any) -> Any:
        for _, (receiver, outcome, number) in zip(range(20), refreshing, strict=False):
            claims = {"sub": f"{number % 10}", "org": f"o{number}", "exp": 2}
            if number % 2:
                claims["org"] = f"p{number}"
            house.subscriptions.refresh(receiver, outcome.group, claims)
        return await judge(questions)

    authorizer.judge = judge_while_some_refresh
    for number in range(200):
        status = b"%d" % (number % 10)
        await house.router.receive([transaction(insert(FULL, b"%d" % number, status, b"a"))])
    house.fanout.flush()
    assert next(refreshing, None) is None
    for receiver, _, number in people:
        ids = [row["record"]["id"] for row in rows_of(receiver.take())]
        assert ids == list(range(number % 10, 200, 10))


# ------------------------------------------------------------ against a model


class Person:
    """A channel, and what the model says that it must have got."""

    def __init__(self, receiver: Receiver, group: Any, entry: dict[str, Any], who: Any) -> None:
        self.receiver = receiver
        self.group = group
        self.entry = entry
        self.role, self.claims = who
        self.expected: list[Any] = []


class World:
    """The engine beside a model of it that knows nothing of groups, plans and audiences."""

    def __init__(self) -> None:
        self.authorizer = ScriptedAuthorizer()
        self.policies: dict[str, ScriptedPolicy | None] = {"anon": None, "member": None}
        self.house = House(self._catalog(), self.authorizer)
        self.people: list[Person] = []
        self.gone: list[Person] = []
        self.number = 0
        self.meanwhile: list[Any] = []
        judge = self.authorizer.judge

        async def judge_while_things_happen(questions: Any) -> Any:
            actions, self.meanwhile = self.meanwhile, []
            for action in actions:
                await self.act(action)
            return await judge(questions)

        self.authorizer.judge = judge_while_things_happen

    def _catalog(self) -> Any:
        accesses = {
            role: {TRIPS: TableAccess(frozenset({"id", "status", "note"}), policy is None)}
            for role, policy in self.policies.items()
        }
        newest = catalog(TABLE, **accesses)
        self.authorizer.by_catalog[newest.fingerprint] = {
            (role, TRIPS): policy for role, policy in self.policies.items() if policy is not None
        }
        return newest

    async def act(self, action: Any) -> None:
        name, *values = action
        await getattr(self, name)(*values)

    async def join(self, topic: str, entry: dict[str, Any], who: Any) -> None:
        role, claims = who
        receiver, outcome = await self.house.join(entry, topic=topic, role=role, claims=claims)
        self.people.append(Person(receiver, outcome.group, entry, who))

    async def leave(self, index: int) -> None:
        if self.people:
            person = self.people.pop(index % len(self.people))
            self.house.fanout.flush()  # what is pending is owed as little as what comes
            self.house.subscriptions.unsubscribe(person.receiver, person.group)
            self.gone.append(person)

    async def refresh(self, index: int, who: Any) -> None:
        if not self.people:
            return
        person = self.people[index % len(self.people)]
        subscriptions = self.house.subscriptions
        if person.role == who[0]:
            subscriptions.refresh(person.receiver, person.group, who[1])
        else:
            person.group = await subscriptions.set_role(
                person.receiver, person.group, who[0], claims=who[1]
            )
        person.role, person.claims = who

    async def decree(self, role: str, policy: ScriptedPolicy | None) -> None:
        self.policies[role] = policy
        self.house.catalogs.newest = self._catalog()
        notice = LogicalMessage("tidewire.ddl", b"")
        await self.house.router.receive([transaction(notice)])

    async def flush(self) -> None:
        self.house.fanout.flush()

    async def change(self, old: Any, new: Any, meanwhile: list[Any]) -> None:
        """One change, during whose judging other things happen."""
        if old is None and new is None:
            return
        self.number += 1
        before, after = self._row(old), self._row(new)
        if before is None:
            item = insert(FULL, *(after or ()))
        elif after is None:
            item = delete(FULL, *before)
        else:
            item = update(FULL, *after, old=before)
        self.meanwhile = meanwhile
        await self.house.router.receive([transaction(item)])
        for person in self.people:
            told = self._told(person, old, new)
            if told is not None:
                person.expected.append((self.number, *told))
        left, self.meanwhile = self.meanwhile, []
        for action in left:  # nobody had to be asked
            await self.act(action)

    def _row(self, words: Any) -> tuple[bytes, ...] | None:
        return words and (b"%d" % self.number, *(word.encode() for word in words))

    def _told(self, person: Person, old: Any, new: Any) -> Any:
        was, is_ = self._meets(person, old), self._meets(person, new)
        if old is None:
            return ("INSERT", None) if is_ else None
        if new is None:
            return ("DELETE", None) if was else None
        asks = "leaves" in person.entry
        if is_:
            has_old = self._sees(person, old)
            return ("UPDATE", has_old, *(["entered"] if asks and not was else []))
        return ("DELETE", None, "left") if asks and was else None

    def _meets(self, person: Person, row: Any) -> bool:
        if row is None or ("filter" in person.entry and row[1] != "a"):
            return False
        return self._sees(person, row)

    def _sees(self, person: Person, row: Any) -> bool:
        policy = self.policies[person.role]
        return policy is None or policy.rule(person.claims, {"status": row[0], "note": row[1]})

    def check(self) -> None:
        self.house.fanout.flush()
        for person in self.people + self.gone:
            got = [_heard(data) for data in rows_of(person.receiver.take())]
            assert got == person.expected


def _heard(data: dict[str, Any]) -> Any:
    row = data["record"] if "record" in data else data["old_record"]
    has_old = bool(data["old_record"]) if data["type"] == "UPDATE" else None
    marks = [mark for mark in ("entered", "left") if mark in data]
    return (row["id"], data["type"], has_old, *marks)


whos = st.tuples(
    st.sampled_from(["anon", "member"]),
    st.fixed_dictionaries({"sub": st.sampled_from(WORDS), "org": st.sampled_from(["b", "c"])}),
)
rows = st.none() | st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(WORDS))
indexes = st.integers(0, 20)
moves = st.tuples(st.just("refresh"), indexes, whos) | st.tuples(st.just("leave"), indexes)
actions = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(["x", "y"]), st.sampled_from(ENTRIES), whos),
    moves,
    st.tuples(st.just("decree"), st.sampled_from(["anon", "member"]), st.sampled_from(POLICIES)),
    st.tuples(st.just("change"), rows, rows, st.just([])),
    st.tuples(st.just("change"), rows, rows, st.just([])),
    st.tuples(st.just("change"), rows, rows, st.lists(moves, max_size=2)),
    st.tuples(st.just("flush")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=30))
def test_each_channel_gets_exactly_what_it_should_in_order_and_once(script: list[Any]) -> None:
    async def play() -> None:
        world = World()
        for action in script:
            await world.act(action)
        world.check()

    asyncio.run(play())
