"""What becomes of each change for one whom a policy binds, through router and fan-out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.changes import (
    TIMESTAMP,
    TRIPS,
    House,
    Receiver,
    catalog,
    delete,
    insert,
    may_read,
    relation_of,
    rows_of,
    table,
    transaction,
    update,
)
from tests.support.scripted_policies import ScriptedAuthorizer, ScriptedPolicy, own
from tidewire.core.catalog import Catalog
from tidewire.core.change import Change, LogicalMessage, ReplicaIdentity
from tidewire.core.row_policy import Tier

ALL = {"event": "*", "schema": "public", "table": "trips"}
LEAVES = {**ALL, "leaves": True}
GUARDED = table(has_row_security=True)
KEYED = relation_of(GUARDED)
FULL = relation_of(GUARDED, ReplicaIdentity.FULL)
OWN = own("status")  # a row belongs to whom `status` names
RLS_ERROR = "Error 500: Internal Server Error, RLS policy evaluation failed"


def guarded(policy: ScriptedPolicy | None = None, **access: Any) -> tuple[House, Any]:
    """A house whose `anon` is bound by a policy: by default he sees rows with his own status."""
    authorizer = ScriptedAuthorizer()
    authorizer.policies["anon", TRIPS] = policy or ScriptedPolicy(OWN, oid=TRIPS)
    return House(catalog(GUARDED, **access), authorizer), authorizer


def moved(former: bytes, status: bytes) -> Change:
    """Row 7 goes from one owner to another."""
    return update(FULL, b"7", status, b"new", old=(b"7", former, b"old"))


def fail_on(text: str) -> ScriptedPolicy:
    """Rows with this status make the policy raise, for everybody called bob."""

    def rule(claims: Any, row: Any) -> bool:
        if claims["sub"] == "bob" and row["status"] == text:
            raise ValueError
        return row["status"] in (claims["sub"], text)

    return ScriptedPolicy(rule, oid=TRIPS)


async def seen(house: House, who: Receiver, *changes: Change) -> list[Any]:
    await house.send(*changes)
    return rows_of(who.take())


async def join(house: House, sub: str, *entries: Any, **options: Any) -> Receiver:
    receiver, _ = await house.join(*(entries or [ALL]), claims={"sub": sub}, **options)
    return receiver


async def test_an_insert_reaches_who_may_see_it_and_nobody_else() -> None:
    house, _ = guarded()
    ann, bob = await join(house, "ann"), await join(house, "bob")
    elsewhere = await join(house, "ann", topic="other")
    await house.send(insert(KEYED, b"1", b"ann", None), insert(KEYED, b"2", b"bob", None))
    for receiver, own_id in ((ann, 1), (bob, 2), (elsewhere, 1)):
        assert [row["record"]["id"] for row in rows_of(receiver.take())] == [own_id]


async def test_nothing_is_delivered_before_it_is_judged() -> None:
    house, authorizer = guarded()
    ann = await join(house, "ann")
    authorizer.hold = asyncio.Event()
    sending = asyncio.create_task(house.send(insert(KEYED, b"1", b"ann", None)))
    await authorizer.asking.wait()
    house.fanout.flush()
    assert ann.take() == []
    authorizer.hold.set()
    await sending
    assert len(rows_of(ann.take())) == 1


async def test_a_policy_under_which_nobody_sees_anything_asks_nobody() -> None:
    house, authorizer = guarded(ScriptedPolicy(OWN, oid=TRIPS, tier=Tier.HIDDEN))
    ann = await join(house, "ann", LEAVES)
    changes = [insert(KEYED, b"1", b"ann", None), delete(KEYED, b"1", None, None)]
    assert await seen(house, ann, *changes, moved(b"ann", b"bob")) == []
    assert authorizer.asked == []


async def test_an_update_with_both_rows_in_sight_carries_both() -> None:
    house, _ = guarded()
    ann = await join(house, "ann")
    (row,) = await seen(house, ann, moved(b"ann", b"ann"))
    assert (row["record"]["note"], row["old_record"]["note"]) == ("new", "old")
    assert "entered" not in row


async def test_an_update_into_sight_hides_the_old_row() -> None:
    house, _ = guarded()
    bob, asking = await join(house, "bob"), await join(house, "bob", LEAVES)
    (row,) = await seen(house, bob, moved(b"ann", b"bob"))
    assert (row["type"], row["record"]["status"], row["old_record"]) == ("UPDATE", "bob", {})
    assert "entered" not in row
    (told,) = rows_of(asking.take())
    assert (told["old_record"], told["entered"]) == ({}, True)


async def test_an_update_out_of_sight_is_a_leave_for_those_who_ask() -> None:
    house, _ = guarded()
    plain, asking = await join(house, "ann"), await join(house, "ann", LEAVES)
    stranger = await join(house, "carl", LEAVES)
    await house.send(moved(b"ann", b"bob"))
    assert plain.take() == stranger.take() == []
    (row,) = rows_of(asking.take())
    assert row == {
        "schema": "public", "table": "trips", "type": "DELETE", "commit_timestamp": TIMESTAMP,
        "columns": row["columns"], "old_record": {"id": 7}, "errors": None, "left": True,
    }  # fmt: skip
    assert house.stats.leaves_total == 1


async def test_under_the_default_identity_an_update_shows_its_key_unless_the_key_changed() -> None:
    house, _ = guarded()
    ann = await join(house, "ann", LEAVES)
    same = update(KEYED, b"7", b"ann", None)
    other = update(KEYED, b"7", b"ann", None, old=(b"6", None, None))
    gone = update(KEYED, b"7", b"bob", None)
    rows = await seen(house, ann, same, other, gone)
    assert [row["old_record"] for row in rows] == [{"id": 7}, {}]


async def test_a_delete_with_its_whole_row_reaches_only_who_could_see_it() -> None:
    house, _ = guarded()
    ann, bob = await join(house, "ann"), await join(house, "bob")
    filtered = await join(house, "ann", {**ALL, "filter": "note=eq.x"})
    other_filter = await join(house, "ann", {**ALL, "filter": "note=eq.y"})
    await house.send(delete(FULL, b"7", b"ann", b"x"))
    for receiver in (ann, filtered):
        (row,) = rows_of(receiver.take())
        assert row["old_record"] == {"id": 7, "status": "ann", "note": "x"}
        assert "left" not in row
    assert bob.take() == other_filter.take() == []


@pytest.mark.parametrize("sends", [True, False])
async def test_a_delete_with_its_key_only_is_told_to_everyone_or_to_nobody(sends: bool) -> None:
    authorizer = ScriptedAuthorizer()
    authorizer.policies["anon", TRIPS] = ScriptedPolicy(OWN, oid=TRIPS)
    house = House(catalog(GUARDED), authorizer, sends_key_only_deletes=sends)
    bob = await join(house, "bob")
    by_key = await join(house, "bob", {**ALL, "filter": "id=eq.7"})
    free, _ = await house.join(ALL, role="service_role")
    await house.send(delete(KEYED, b"7", None, None))
    for receiver in (bob, by_key):
        assert [row["old_record"] for row in rows_of(receiver.take())] == [{"id": 7}] * sends
    assert len(rows_of(free.take())) == 1
    assert authorizer.asked == []


async def test_a_filter_on_a_column_of_an_identity_beside_the_key_tells_nothing() -> None:
    house, _ = guarded()
    prying = await join(house, "bob", {**ALL, "filter": "status=eq.ann"})
    by_status = relation_of(table(key=("status",)))
    await house.send(delete(by_status, None, b"ann", None))
    assert prying.take() == []


async def test_a_raising_policy_fails_its_own_viewer_who_is_told() -> None:
    house, _ = guarded(fail_on("boom"))
    ann, bob = await join(house, "ann"), await join(house, "bob")
    (row,) = await seen(house, ann, insert(KEYED, b"1", b"boom", b"secret"))
    assert row["record"]["id"] == 1
    (failed,) = rows_of(bob.take())
    assert failed == {
        "schema": "public", "table": "trips", "type": "INSERT", "commit_timestamp": TIMESTAMP,
        "columns": [], "record": {}, "errors": [RLS_ERROR],
    }  # fmt: skip
    assert house.stats.policy_failures_total == 1


async def test_a_policy_that_raises_on_the_old_row_hides_it() -> None:
    house, _ = guarded(fail_on("boom"))
    bob, asking = await join(house, "bob"), await join(house, "bob", LEAVES)
    (row,) = await seen(house, bob, moved(b"boom", b"bob"))
    assert (row["record"]["status"], row["old_record"]) == ("bob", {})
    asking.take()
    assert await seen(house, bob, moved(b"boom", b"ann")) == []
    assert [told["errors"] for told in rows_of(asking.take())] == [[RLS_ERROR]]
    assert [told["errors"] for told in await seen(house, bob, delete(FULL, b"7", b"boom", None))]


async def test_when_judging_goes_wrong_everybody_is_told_and_nobody_sees() -> None:
    house, authorizer = guarded()
    ann = await join(house, "ann")
    authorizer.error = RuntimeError("a bug")
    (row,) = await seen(house, ann, insert(KEYED, b"1", b"ann", b"secret"))
    assert row["errors"] == [RLS_ERROR]
    authorizer.error = None
    assert len(await seen(house, ann, insert(KEYED, b"1", b"ann", None))) == 1


async def test_while_the_database_is_away_rows_wait_to_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidewire.engine.change_router.RETRY_MIN_S", 0.001)
    house, authorizer = guarded()
    ann = await join(house, "ann")
    authorizer.failures = 2
    (row,) = await seen(house, ann, insert(KEYED, b"1", b"ann", None))
    assert row["errors"] is None


async def test_columns_are_masked_in_every_outcome() -> None:
    house, _ = guarded(anon=may_read("id", "status", bypasses=False))
    ann, bob = await join(house, "ann", LEAVES), await join(house, "bob", LEAVES)
    await house.send(
        insert(FULL, b"7", b"ann", b"secret"),
        update(FULL, b"7", b"ann", b"secret", old=(b"7", b"ann", b"secret")),
        update(FULL, b"7", b"bob", b"secret", old=(b"7", b"ann", b"secret")),
        delete(FULL, b"7", b"bob", b"secret"),
    )
    frames = ann.take(), bob.take()
    assert [[row["type"] for row in rows_of(each)] for each in frames] == [
        ["INSERT", "UPDATE", "DELETE"], ["UPDATE", "DELETE"]
    ]  # fmt: skip
    assert "secret" not in str(frames)
    assert "note" not in str(frames)


async def test_without_the_whole_key_there_is_the_error_and_no_row() -> None:
    house, authorizer = guarded(anon=may_read("status", bypasses=False))
    ann = await join(house, "ann", LEAVES)
    rows = await seen(house, ann, insert(KEYED, b"1", b"ann", b"x"), moved(b"ann", b"bob"))
    assert [row["errors"] for row in rows] == [["Error 401: Unauthorized"]] * 2
    assert authorizer.asked == []


async def test_an_error_does_not_tell_that_a_hidden_row_meets_a_filter() -> None:
    house, _ = guarded(anon=may_read("status", bypasses=False))
    filtered = {**LEAVES, "filter": "status=eq.bob"}
    ann, bob = await join(house, "ann", filtered), await join(house, "bob", filtered)
    await house.send(insert(FULL, b"1", b"bob", b"x"))
    assert rows_of(ann.take()) == []
    assert [row["errors"] for row in rows_of(bob.take())] == [["Error 401: Unauthorized"]]


async def test_a_policy_that_raises_does_not_tell_that_a_row_meets_a_filter() -> None:
    """Else who can make it raise would read hidden rows by as many filters as he likes."""
    house, _ = guarded(fail_on("boom"))
    plain = await join(house, "bob", LEAVES)
    prying = [
        await join(house, "bob", {**LEAVES, "filter": f"note=eq.{note}"}, topic=note)
        for note in ("secret", "other")
    ]
    mixed, outcome = await house.join(
        ALL, {**ALL, "filter": "note=eq.secret"}, claims={"sub": "bob"}, topic="mixed"
    )
    await house.send(
        insert(FULL, b"1", b"boom", b"secret"),
        update(FULL, b"1", b"ann", b"x", old=(b"1", b"boom", b"secret")),
        delete(FULL, b"1", b"boom", b"secret"),
    )
    assert len(rows_of(plain.take())) == 3
    assert [each.take() for each in prying] == [[], []]
    assert [payload["ids"] for _, payload in mixed.take()] == [[outcome.group.ids[0]]] * 2


async def test_where_the_key_may_not_be_read_a_raising_policy_tells_as_little() -> None:
    house, _ = guarded(fail_on("boom"), anon=may_read("status", bypasses=False))
    prying = await join(house, "bob", {**ALL, "filter": "status=eq.boom"})
    await house.send(insert(FULL, b"1", b"boom", b"x"))
    assert prying.take() == []


async def test_an_unchanged_value_is_judged_by_the_old_row() -> None:
    house, _ = guarded(ScriptedPolicy(own("note"), oid=TRIPS))
    ann = await join(house, "ann")
    (row,) = await seen(house, ann, update(FULL, b"7", b"x", ..., old=(b"7", b"y", b"ann")))
    assert row["record"]["note"] == "ann"


async def test_each_change_is_judged_by_its_own_rows_and_not_by_the_present_one() -> None:
    house, _ = guarded()
    ann, bob = await join(house, "ann"), await join(house, "bob")
    await house.send(
        insert(FULL, b"7", b"ann", b"of ann"),
        moved(b"ann", b"bob"),
        delete(FULL, b"7", b"bob", b""),
    )
    assert [row["type"] for row in rows_of(ann.take())] == ["INSERT"]
    theirs = rows_of(bob.take())
    assert [row["type"] for row in theirs] == ["UPDATE", "DELETE"]
    assert "of ann" not in str(theirs)


async def test_rows_of_one_batch_are_asked_about_at_once() -> None:
    house, authorizer = guarded()
    for name in ("ann", "bob", "carl"):
        await join(house, name)
    await house.send(insert(FULL, b"1", b"ann", None), moved(b"ann", b"bob"), moved(b"a", b"b"))
    ((insertion, *updates),) = authorizer.asked
    assert len(updates) == 4
    assert len(insertion.keys) == 3
    assert all(question.keys is insertion.keys for question in updates)
    assert {question.xid for question in updates} == {7}
    assert (house.stats.rows_judged_total, house.stats.rows_hidden_total) == (5, 2)


async def test_only_those_whose_filter_is_met_are_asked_about() -> None:
    house, authorizer = guarded()
    await join(house, "ann", {**ALL, "filter": "id=eq.1"})
    await join(house, "bob", {**ALL, "filter": "id=eq.2"})
    await house.send(insert(KEYED, b"1", b"ann", None), insert(KEYED, b"3", b"ann", None))
    ((question,),) = authorizer.asked
    assert question.keys == {b'{"sub":"ann"}'}


async def test_tables_without_policies_have_one_audience_and_ask_nothing() -> None:
    authorizer = ScriptedAuthorizer()
    house = House(catalog(table()), authorizer)
    _, outcome = await house.join(ALL, claims={"sub": "ann"})
    for number in range(20):
        await house.join(ALL, claims={"sub": str(number)})
    assert len(outcome.group.cohorts._cohorts) == 1
    await house.send(insert(relation_of(table()), b"1", b"x", None))
    assert authorizer.asked == []


async def test_who_shares_a_key_shares_a_cohort() -> None:
    house, _ = guarded()
    outcomes = [
        (await house.join(ALL, claims={"sub": "ann", "exp": number}))[1] for number in range(5)
    ]
    assert len({id(outcome.group) for outcome in outcomes}) == 1
    assert len(outcomes[0].group.cohorts._cohorts) == 1


# ------------------------------------------------------------ filters that rows leave


async def test_a_row_that_leaves_a_filter_is_a_leave_and_one_that_comes_is_marked() -> None:
    house = House(catalog(table()))
    full = relation_of(table(), ReplicaIdentity.FULL)
    entry = {**LEAVES, "filter": "status=eq.open"}
    asking, _ = await house.join(entry)
    plain, _ = await house.join({**ALL, "filter": "status=eq.open"})
    await house.send(
        update(full, b"1", b"open", b"n", old=(b"1", b"new", b"o")),
        update(full, b"1", b"open", b"m", old=(b"1", b"open", b"n")),
        update(full, b"1", b"done", b"m", old=(b"1", b"open", b"m")),
        update(full, b"1", b"gone", b"m", old=(b"1", b"done", b"m")),
    )
    entered, stayed, left = rows_of(asking.take())
    assert (entered["entered"], entered["old_record"]["status"]) == (True, "new")
    assert "entered" not in stayed
    assert (left["type"], left["old_record"], left["left"]) == ("DELETE", {"id": 1}, True)
    rows = rows_of(plain.take())
    assert [row["type"] for row in rows] == ["UPDATE", "UPDATE"]
    assert "entered" not in rows[0]


async def test_each_entry_of_a_channel_is_told_its_own_part() -> None:
    house = House(catalog(table()))
    full = relation_of(table(), ReplicaIdentity.FULL)
    was = {**LEAVES, "filter": "status=eq.open"}
    receiver, outcome = await house.join(was, {**LEAVES, "filter": "status=eq.done"}, ALL)
    await house.send(update(full, b"1", b"done", None, old=(b"1", b"open", None)))
    told = {
        payload["data"]["type"] + "+" * payload["data"].get("entered", False): payload["ids"]
        for _, payload in receiver.take()
    }
    left, entered, always = outcome.group.ids
    assert told == {"DELETE": [left], "UPDATE+": [entered], "UPDATE": [always]}


@pytest.mark.parametrize(
    ("event", "types"), [("INSERT", []), ("UPDATE", ["UPDATE", "DELETE"]), ("DELETE", ["DELETE"])]
)
async def test_leaves_go_to_entries_that_hear_of_updates_or_deletes(
    event: str, types: list[str]
) -> None:
    house = House(catalog(table()))
    full = relation_of(table(), ReplicaIdentity.FULL)
    receiver, _ = await house.join({**LEAVES, "event": event, "filter": "status=eq.open"})
    await house.send(
        update(full, b"1", b"open", b"x", old=(b"1", b"open", None)),
        update(full, b"1", b"done", b"x", old=(b"1", b"open", b"x")),
    )
    assert [row["type"] for row in rows_of(receiver.take())] == types


async def test_without_the_whole_old_row_nothing_is_known_of_leaves() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join({**LEAVES, "filter": "status=eq.open"})
    relation = relation_of(table())
    await house.send(update(relation, b"1", b"open", None), update(relation, b"1", b"done", None))
    (row,) = rows_of(receiver.take())
    assert "entered" not in row


async def test_a_leave_is_told_only_to_who_could_see_the_row() -> None:
    house, _ = guarded()
    entry = {**LEAVES, "filter": "note=eq.old"}
    ann, bob = await join(house, "ann", entry), await join(house, "bob", entry)
    await house.send(moved(b"ann", b"ann"))
    assert [row["type"] for row in rows_of(ann.take())] == ["DELETE"]
    assert bob.take() == []


async def test_what_only_the_database_can_compare_counts_for_the_old_row_too() -> None:
    waits = table(columns=(("id", 23), ("wait", 1186)))
    full = relation_of(waits, ReplicaIdentity.FULL)
    house = House(catalog(waits))
    house.catalogs.judge = lambda comparison: comparison.value in ("24:00:00", comparison.literal)
    receiver, _ = await house.join({**LEAVES, "filter": "wait=eq.1 day"})
    await house.send(update(full, b"1", b"2 days", old=(b"1", b"24:00:00")))
    assert [row["type"] for row in rows_of(receiver.take())] == ["DELETE"]


# ------------------------------------------------------------ what changes while subscribed


def with_policy(authorizer: ScriptedAuthorizer, policy: ScriptedPolicy) -> Catalog:
    newest = catalog(GUARDED)
    authorizer.by_catalog[newest.fingerprint] = {("anon", TRIPS): policy}
    return newest


DDL = LogicalMessage("tidewire.ddl", b"{}")


async def test_no_row_behind_a_ddl_notice_is_judged_by_the_former_policy() -> None:
    house, authorizer = guarded()
    ann = await join(house, "ann")
    await house.send(insert(KEYED, b"0", b"ann", None))
    former = authorizer.policies["anon", TRIPS]
    stricter = ScriptedPolicy(lambda c, r: OWN(c, r) and r["note"] == "open", oid=TRIPS)
    house.catalogs.newest = with_policy(authorizer, stricter)
    await house.send(
        insert(KEYED, b"1", b"ann", None), DDL,
        insert(KEYED, b"2", b"ann", None), insert(KEYED, b"3", b"ann", b"open"),
    )  # fmt: skip
    assert [row["record"]["id"] for row in rows_of(ann.take())] == [0, 1, 3]
    policies = [[question.policy for question in batch] for batch in authorizer.asked]
    assert policies == [[former], [former], [stricter, stricter]]


async def test_a_policy_that_changes_while_it_is_asked_is_asked_again() -> None:
    house, authorizer = guarded()
    ann = await join(house, "ann")
    await house.send(insert(KEYED, b"0", b"ann", None))
    authorizer.hold, _ = asyncio.Event(), authorizer.asking.clear()
    sending = asyncio.create_task(house.send(insert(KEYED, b"1", b"ann", None)))
    await authorizer.asking.wait()
    nobody = ScriptedPolicy(lambda *_: False, oid=TRIPS)
    house.catalogs.newest = with_policy(authorizer, nobody)
    await house.join(ALL, topic="other")  # reads the catalogue
    authorizer.hold.set()
    await sending
    assert [row["record"]["id"] for row in rows_of(ann.take())] == [0]
    assert authorizer.asked[-1][0].policy is nobody


async def test_row_security_that_comes_or_goes_divides_and_joins_again() -> None:
    authorizer = ScriptedAuthorizer()
    house = House(catalog(table()), authorizer)
    ann, bob = await join(house, "ann"), await join(house, "bob")
    relation = relation_of(table())
    await house.router.receive([transaction(insert(relation, b"1", b"ann", None))])
    house.catalogs.newest = with_policy(authorizer, ScriptedPolicy(OWN, oid=TRIPS))
    await house.router.receive([transaction(DDL, insert(relation, b"2", b"ann", None))])
    house.catalogs.newest = catalog(table())
    await house.router.receive([transaction(DDL, insert(relation, b"3", b"ann", None))])
    house.fanout.flush()
    assert [row["record"]["id"] for row in rows_of(ann.take())] == [1, 2, 3]
    assert [row["record"]["id"] for row in rows_of(bob.take())] == [1, 3]


async def test_a_policy_that_reads_other_claims_divides_anew() -> None:
    house, authorizer = guarded()
    ann, _ = await house.join(ALL, claims={"sub": "ann", "org": "a"})
    bob, _ = await house.join(ALL, claims={"sub": "bob", "org": "a"})
    await house.send(insert(KEYED, b"1", b"ann", None))
    by_org = ScriptedPolicy(own("status", "org"), oid=TRIPS, claims=frozenset({"org"}))
    house.catalogs.newest = with_policy(authorizer, by_org)
    await house.send(DDL, insert(KEYED, b"2", b"ann", None), insert(KEYED, b"3", b"a", None))
    assert [row["record"]["id"] for row in rows_of(ann.take())] == [1, 3]
    assert [row["record"]["id"] for row in rows_of(bob.take())] == [3]
    assert authorizer.asked[-1][-1].keys == {b'{"org":"a"}'}


async def test_two_policies_of_one_group_each_have_their_own_keys() -> None:
    other = table(99, "other", has_row_security=True)
    authorizer = ScriptedAuthorizer()
    authorizer.policies["anon", TRIPS] = ScriptedPolicy(OWN, oid=TRIPS)
    authorizer.policies["anon", 99] = ScriptedPolicy(
        own("status", "org"), oid=99, claims=frozenset({"org"})
    )
    house = House(catalog(GUARDED, other), authorizer)
    entry = {"schema": "public", "table": "*"}
    people = {"ann": "a", "bob": "a", "carl": "b"}
    who = {
        sub: (await house.join(entry, claims={"sub": sub, "org": org}))[0]
        for sub, org in people.items()
    }
    await house.send(insert(KEYED, b"1", b"ann", None), insert(relation_of(other), b"2", b"a", b""))
    told = {sub: [row["record"]["id"] for row in rows_of(r.take())] for sub, r in who.items()}
    assert told == {"ann": [1, 2], "bob": [2], "carl": []}


async def test_a_refresh_with_other_claims_moves_a_channel_without_a_gap() -> None:
    house, _ = guarded()
    receiver, outcome = await house.join(ALL, claims={"sub": "ann"})
    await house.router.receive([transaction(insert(KEYED, b"1", b"ann", None))])
    asked = house.catalogs.refreshes
    house.subscriptions.refresh(receiver, outcome.group, {"sub": "bob"})
    assert house.catalogs.refreshes == asked
    await house.router.receive([transaction(insert(KEYED, b"2", b"bob", None))])
    house.fanout.flush()
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == [1, 2]


async def test_a_refresh_that_no_policy_can_tell_moves_nobody() -> None:
    house, _ = guarded()
    receiver, outcome = await house.join(ALL, claims={"sub": "ann", "exp": 1})
    version = house.subscriptions.version
    house.subscriptions.refresh(receiver, outcome.group, {"sub": "ann", "exp": 2})
    assert house.subscriptions.version == version


async def test_who_is_refreshed_while_rows_are_judged_is_asked_about_alone() -> None:
    house, authorizer = guarded()
    receiver, outcome = await house.join(ALL, claims={"sub": "ann"})
    await join(house, "carl")
    await house.send(insert(KEYED, b"0", b"x", None))
    authorizer.hold, _ = asyncio.Event(), authorizer.asking.clear()
    sending = asyncio.create_task(house.send(insert(KEYED, b"1", b"bob", None)))
    await authorizer.asking.wait()
    house.subscriptions.refresh(receiver, outcome.group, {"sub": "bob"})
    authorizer.hold.set()
    await sending
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == [1]
    assert [question.keys for question in authorizer.asked[-1]] == [{b'{"sub":"bob"}'}]


async def test_joins_without_end_do_not_hold_a_batch_up() -> None:
    house, authorizer = guarded()
    ann = await join(house, "ann")
    late: list[Receiver] = []
    judge = authorizer.judge

    async def judge_while_others_join(questions: Any) -> Any:
        late.append(await join(house, f"late {len(late)}"))
        return await judge(questions)

    authorizer.judge = judge_while_others_join
    (row,) = await seen(house, ann, insert(KEYED, b"1", b"ann", None))
    assert row["record"]["id"] == 1
    assert len(late) < 6
    assert all(rows_of(receiver.take()) == [] for receiver in late)
