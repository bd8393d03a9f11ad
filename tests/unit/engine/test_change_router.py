from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.support.changes import (
    TIMESTAMP,
    TRIPS,
    House,
    catalog,
    delete,
    insert,
    may_read,
    notices_of,
    relation_of,
    rows_of,
    table,
    transaction,
    update,
)
from tidewire.core.catalog import TableAccess
from tidewire.core.change import Change, ChangeKind, LogicalMessage, ReplicaIdentity
from tidewire.engine.change_batch import CHANGES_MAX, Batch
from tidewire.engine.change_group import GroupState

ALL = {"event": "*", "schema": "public", "table": "trips"}
COLUMNS = [
    {"name": "id", "type": "int4"},
    {"name": "status", "type": "text"},
    {"name": "note", "type": "text"},
]


async def test_an_insert_looks_as_the_wire_says() -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"7", b"paid", None))
    assert receiver.take() == [
        (
            "postgres_changes",
            {
                "ids": [outcome.group.ids[0]],
                "data": {
                    "schema": "public", "table": "trips", "type": "INSERT",
                    "commit_timestamp": TIMESTAMP, "columns": COLUMNS,
                    "record": {"id": 7, "status": "paid", "note": None}, "errors": None,
                },
            },
        )
    ]  # fmt: skip


async def test_one_frame_names_all_entries_that_match() -> None:
    house = House(catalog(table()))
    entries = [
        {**ALL, "event": "INSERT"}, {**ALL, "event": "update"},
        {**ALL, "filter": "status=eq.paid"}, {**ALL, "filter": "status=eq.open"},
    ]  # fmt: skip
    receiver, outcome = await house.join(*entries)
    ids = outcome.group.ids
    relation = relation_of(table())
    await house.send(insert(relation, b"7", b"paid", None), update(relation, b"7", b"open", None))
    first, second = (payload["ids"] for _, payload in receiver.take())
    assert (set(first), set(second)) == ({ids[0], ids[2]}, {ids[1], ids[3]})


async def test_entries_with_other_columns_get_frames_of_their_own() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL, {**ALL, "select": ["status"]}, {**ALL, "select": ["id"]})
    await house.send(insert(relation_of(table()), b"7", b"paid", b"x"))
    records = [row["record"] for row in rows_of(receiver.take())]
    assert sorted(records, key=len) == [
        {"id": 7}, {"id": 7, "status": "paid"}, {"id": 7, "status": "paid", "note": "x"}
    ]  # fmt: skip


async def test_columns_without_the_privilege_are_nowhere() -> None:
    house = House(catalog(table(), anon=may_read("id", "note")))
    receiver, _ = await house.join(ALL)
    full = relation_of(table(), ReplicaIdentity.FULL)
    await house.send(update(full, b"7", b"secret", b"x", old=(b"7", b"secret", b"y")))
    (row,) = rows_of(receiver.take())
    assert row["columns"] == [COLUMNS[0], COLUMNS[2]]
    assert row["record"] == {"id": 7, "note": "x"}
    assert row["old_record"] == {"id": 7, "note": "y"}


@pytest.mark.parametrize(
    ("identity", "old", "expected"),
    [
        (ReplicaIdentity.DEFAULT, None, {"id": 7}),
        (ReplicaIdentity.DEFAULT, (b"6", None, None), {"id": 6}),
        (ReplicaIdentity.FULL, (b"7", b"a", b"b"), {"id": 7, "status": "a", "note": "b"}),
    ],
)
async def test_an_update_shows_the_old_row_as_far_as_the_log_has_it(
    identity: ReplicaIdentity, old: Any, expected: Any
) -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    await house.send(update(relation_of(table(), identity), b"7", b"x", b"y", old=old))
    (row,) = rows_of(receiver.take())
    assert row["old_record"] == expected


async def test_an_unchanged_value_is_left_out_and_matches_no_filter() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    filtered, _ = await house.join({**ALL, "filter": "note=not.eq.zzz"})
    is_null, _ = await house.join({**ALL, "filter": "note=is.null"}, topic="n")
    await house.send(update(relation_of(table()), b"7", b"x", ...))
    (row,) = rows_of(receiver.take())
    assert row["record"] == {"id": 7, "status": "x"}
    assert filtered.take() == is_null.take() == []


async def test_under_full_identity_an_unchanged_value_comes_from_the_old_row() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join({**ALL, "filter": "note=eq.long"})
    full = relation_of(table(), ReplicaIdentity.FULL)
    await house.send(update(full, b"7", b"x", ..., old=(b"7", b"a", b"long")))
    (row,) = rows_of(receiver.take())
    assert row["record"]["note"] == "long"


async def test_a_delete_shows_the_key_and_filters_on_other_columns_do_not_match() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    by_key, _ = await house.join({**ALL, "filter": "id=eq.7"})
    by_other, _ = await house.join({**ALL, "filter": "status=is.null"})
    await house.send(delete(relation_of(table()), b"7", None, None))
    (row,) = rows_of(receiver.take())
    assert row["type"] == "DELETE"
    assert row["old_record"] == {"id": 7}
    assert "record" not in row
    assert len(rows_of(by_key.take())) == 1
    assert by_other.take() == []


async def test_a_delete_under_full_identity_shows_and_matches_the_whole_row() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join({**ALL, "filter": "status=eq.a"})
    full = relation_of(table(), ReplicaIdentity.FULL)
    await house.send(delete(full, b"7", b"a", None), delete(full, b"8", b"b", None))
    (row,) = rows_of(receiver.take())
    assert row["old_record"] == {"id": 7, "status": "a", "note": None}


async def test_with_row_security_only_roles_that_it_does_not_bind_get_anything() -> None:
    guarded = table(has_row_security=True)
    house = House(catalog(guarded))
    bound, _ = await house.join(ALL)
    free, _ = await house.join(ALL, role="service_role")
    full = relation_of(guarded, ReplicaIdentity.FULL)
    await house.send(
        insert(full, b"7", b"a", None),
        update(full, b"7", b"b", None, old=(b"7", b"a", None)),
        delete(full, b"7", b"b", None),
    )
    assert bound.take() == []
    rows = rows_of(free.take())
    assert [row["type"] for row in rows] == ["INSERT", "UPDATE", "DELETE"]
    assert rows[2]["old_record"] == {"id": 7, "status": "b", "note": None}


@pytest.mark.parametrize("access", [None, may_read(), {}])
async def test_a_role_without_access_sees_no_row(access: Any) -> None:
    house = House(catalog(table(), anon=access))
    receiver, _ = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"7", b"secret", b"secret"))
    assert "secret" not in str(receiver.take())


async def test_without_the_whole_key_a_role_gets_error_401_with_a_timestamp() -> None:
    house = House(catalog(table(), anon=may_read("status")))
    receiver, _ = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"7", b"secret", None))
    (row,) = rows_of(receiver.take())
    assert row["errors"] == ["Error 401: Unauthorized"]
    assert (row["columns"], row["record"]) == ([], {})
    assert row["commit_timestamp"] == TIMESTAMP


async def test_without_a_primary_key_inserts_get_error_400_and_deletes_the_old_row() -> None:
    keyless = table(key=())
    house = House(catalog(keyless))
    receiver, _ = await house.join(ALL)
    full = relation_of(keyless, ReplicaIdentity.FULL)
    await house.send(insert(full, b"7", b"a", None), delete(full, b"7", b"a", None))
    inserted, deleted = rows_of(receiver.take())
    assert inserted["errors"] == ["Error 400: Bad Request, no primary key"]
    assert inserted["commit_timestamp"] == TIMESTAMP
    assert deleted["errors"] is None
    assert deleted["old_record"]["status"] == "a"


async def test_a_row_over_one_mebibyte_keeps_its_short_columns() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"7", b"short", b"x" * 1_048_577))
    (row,) = rows_of(receiver.take())
    assert row["errors"] == ["Error 413: Payload Too Large"]
    assert row["record"] == {"id": 7, "status": "short"}


async def test_a_revoked_column_is_gone_with_the_next_ddl_notice() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"1", b"a", b"b"))
    house.catalogs.newest = catalog(table(), anon=may_read("id"))
    await house.send(
        insert(relation, b"2", b"a", b"b"),
        LogicalMessage("tidewire.ddl", b"{}"),
        insert(relation, b"3", b"a", b"b"),
    )
    records = [row["record"] for row in rows_of(receiver.take())]
    assert [set(record) for record in records] == [
        {"id", "status", "note"}, {"id", "status", "note"}, {"id"}
    ]  # fmt: skip


async def test_a_ddl_notice_is_acted_on_once_queries_show_its_transaction() -> None:
    house = House(catalog(table()))
    await house.join(ALL)
    reads: list[int] = []

    class Listener:
        def on_message(self, content: bytes) -> None:
            reads.append(house.catalogs.xids[-1])

        def on_gap(self) -> None: ...

    house.router.listen("tidewire.ddl", Listener())
    notice = transaction(LogicalMessage("tidewire.ddl", b"{}"))
    await house.router.receive([notice])
    assert reads == [notice.xid]


async def test_without_notices_the_catalogue_is_read_again_once_a_second() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"1", b"a", b"b"))
    before = house.catalogs.refreshes
    for _ in range(10):
        await house.send(insert(relation, b"1", b"a", b"b"))
    assert house.catalogs.refreshes == before
    house.catalogs.newest = catalog(table(), anon=may_read("id"))
    house.clock.advance(1.0)
    receiver.take()
    await house.send(insert(relation, b"1", b"a", b"b"))
    assert [set(row["record"]) for row in rows_of(receiver.take())] == [{"id"}]


async def test_a_large_transaction_waits_for_receivers_that_are_behind() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"0", b"a", b"b"))
    receiver.take()
    rows = [insert(relation, b"1", b"a", b"b") for _ in range(2 * CHANGES_MAX)]
    house.is_congested = True
    routing = asyncio.ensure_future(house.router.receive([transaction(*rows)]))
    await asyncio.sleep(0.02)
    assert len(rows_of(receiver.take())) == CHANGES_MAX
    house.is_congested = False
    await asyncio.wait_for(routing, 5)
    house.fanout.flush()
    assert len(rows_of(receiver.take())) == CHANGES_MAX


async def test_a_receiver_that_stays_behind_holds_a_batch_up_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidewire.engine.change_router.PACE_S", 0.0001)
    house = House(catalog(table()))
    await house.join(ALL)
    house.is_congested = True
    relation = relation_of(table())
    rows = [insert(relation, b"1", b"a", b"b") for _ in range(3 * CHANGES_MAX)]
    await asyncio.wait_for(house.router.receive([transaction(*rows)]), 10)
    assert house.stats.changes_total == len(rows)


async def test_long_rows_fill_a_batch_by_their_size() -> None:
    batch = Batch()
    relation = relation_of(table())
    while not batch.is_full:
        batch.add(insert(relation, b"1", b"a" * 10_000, b"b"), b"")
    assert len(batch) == 7


async def test_privileges_are_looked_at_each_second_within_one_long_delivery() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"0", b"a", b"b"))
    receiver.take()
    first = transaction(*(insert(relation, b"1", b"a", b"b") for _ in range(CHANGES_MAX)))
    deliver, written = house.router._deliver_all, []

    def deliver_slowly(batch: Any) -> None:
        deliver(batch)
        written.append(len(batch))
        house.clock.advance(1.0)
        house.catalogs.newest = catalog(table(), anon=may_read("id"))

    house.router._deliver_all = deliver_slowly
    await house.router.receive([first, transaction(insert(relation, b"2", b"a", b"b"))])
    house.fanout.flush()
    assert written == [CHANGES_MAX, 1]
    assert set(rows_of(receiver.take())[-1]["record"]) == {"id"}


async def test_what_an_overflowed_transaction_did_to_the_catalogue_counts_behind_it() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"0", b"a", b"b"))
    house.catalogs.newest = catalog(table(has_row_security=True))
    await house.send(overflowed=True)
    receiver.take()
    await house.send(insert(relation, b"1", b"a", b"b"))
    assert rows_of(receiver.take()) == []


async def test_an_answer_that_took_long_is_used_with_the_privileges_of_now() -> None:
    waits = table(columns=(("id", 23), ("wait", 1186)))
    house = House(catalog(waits))
    receiver, _ = await house.join({**ALL, "filter": "wait=eq.1 day"})
    relation = relation_of(waits)
    await house.send(insert(relation, b"0", b"1 day"))
    receiver.take()
    house.catalogs.hold, _ = asyncio.Event(), house.catalogs.asked.clear()
    sending = asyncio.create_task(house.send(insert(relation, b"1", b"2 days")))
    await house.catalogs.asked.wait()
    hidden = table(columns=(("id", 23), ("wait", 1186)), has_row_security=True)
    house.catalogs.newest = catalog(hidden)
    house.clock.advance(5.0)
    house.catalogs.hold.set()
    await sending
    assert rows_of(receiver.take()) == []


async def test_a_new_version_of_a_table_is_never_judged_by_an_old_catalogue() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join({**ALL, "filter": "status=eq.a"})
    await house.send(insert(relation_of(table()), b"1", b"a", None))
    wider = table(columns=(("secret", 25), ("id", 23), ("status", 25), ("note", 25)))
    house.catalogs.newest = catalog(wider, anon=may_read("id", "status"))
    receiver.take()
    await house.send(insert(relation_of(wider), b"hidden", b"2", b"a", b"hidden"))
    (row,) = rows_of(receiver.take())
    assert row["record"] == {"id": 2, "status": "a"}


async def test_a_filter_follows_the_types_of_the_version_that_a_row_was_written_with() -> None:
    texts = table(columns=(("id", 23), ("status", 25)))
    house = House(catalog(texts))
    receiver, _ = await house.join({**ALL, "filter": "status=gt.9"})
    numbers = table(columns=(("id", 23), ("status", 23)))
    await house.send(insert(relation_of(numbers), b"1", b"10"))  # before the alteration
    await house.send(insert(relation_of(texts), b"2", b"10"))
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == [1]


async def test_what_only_the_database_can_judge_is_asked_once_for_a_batch() -> None:
    waits = table(columns=(("id", 23), ("wait", 1186)))
    house = House(catalog(waits))
    receiver, _ = await house.join({**ALL, "filter": "wait=eq.1 day"})
    house.catalogs.compared.clear()
    house.catalogs.judge = lambda c: c.value in ("24:00:00", c.literal)
    relation = relation_of(waits)
    await house.send(
        insert(relation, b"1", b"24:00:00"), insert(relation, b"2", b"2 days"),
        insert(relation, b"3", b"24:00:00"), insert(relation, b"4", None),
    )  # fmt: skip
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == [1, 3]
    assert len(house.catalogs.compared) == 2


async def test_order_holds_between_changes_with_and_without_questions() -> None:
    waits = table(columns=(("id", 23), ("wait", 1186)))
    house = House(catalog(waits))
    receiver, _ = await house.join({**ALL, "filter": "wait=eq.1 day"}, ALL)
    relation = relation_of(waits)
    changes = [insert(relation, b"%d" % n, b"1 day" if n % 3 else None) for n in range(600)]
    await house.send(*changes)
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == list(range(600))


async def test_who_subscribes_while_the_database_is_asked_misses_nothing() -> None:
    waits = table(columns=(("id", 23), ("wait", 1186)))
    house = House(catalog(waits))
    first, outcome = await house.join({**ALL, "filter": "wait=eq.1 day"})
    relation = relation_of(waits)
    await house.send(insert(relation, b"0", b"1 day"))
    house.catalogs.hold, _ = asyncio.Event(), house.catalogs.asked.clear()
    sending = asyncio.create_task(house.send(insert(relation, b"1", b"2 days")))
    await house.catalogs.asked.wait()
    late, _ = await house.join(ALL, topic="late")
    await house.subscriptions.set_role(first, outcome.group, "service_role")
    house.catalogs.hold.set()
    await sending
    assert [row["record"]["id"] for row in rows_of(late.take())] == [1]
    assert [row["record"]["id"] for row in rows_of(first.take())] == [0, 1]


async def test_a_filter_that_fails_ends_its_own_group_only() -> None:
    house = House(catalog(table()))
    bad, outcome = await house.join({**ALL, "filter": "note=match.(a+)+$"})
    good, _ = await house.join(ALL, topic="good")
    house.catalogs.judge = lambda _: None
    relation = relation_of(table())
    await house.send(insert(relation, b"1", b"a", b"x"), insert(relation, b"2", b"a", b"x"))
    assert len(rows_of(good.take())) == 2
    ((status, message),) = notices_of(bad.take())
    assert status == "error"
    assert "could not be evaluated" in message
    assert outcome.group.state is GroupState.FAILED


async def test_a_row_that_cannot_be_read_stops_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = table(99, "other")
    house = House(catalog(table(), other))
    receiver, _ = await house.join({"schema": "public"})
    broken = Change(ChangeKind.INSERT, relation_of(table()), b"\x00\x03t\x00", None)
    await house.send(broken, insert(relation_of(other), b"2", b"b", None))
    frames = receiver.take()
    assert [row["table"] for row in rows_of(frames)] == ["other"]
    assert notices_of(frames) == [("ok", "resync")]
    assert "cannot be matched" in caplog.text


async def test_a_truncated_table_tells_its_own_subscribers_to_fetch_again() -> None:
    other = table(99, "other")
    house = House(catalog(table(), other))
    receiver, _ = await house.join(ALL)
    elsewhere, _ = await house.join({**ALL, "table": "other"})
    await house.send(Change(ChangeKind.TRUNCATE, relation_of(table()), None, None))
    ((event, payload),) = receiver.take()
    assert event == "system"
    assert payload == {
        "extension": "postgres_changes", "status": "ok", "message": "resync",
        "reason": "table truncated", "channel": "room",
    }  # fmt: skip
    assert elsewhere.take() == []


async def test_a_transaction_too_large_tells_everyone_to_fetch_again() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    await house.send(overflowed=True)
    assert notices_of(receiver.take()) == [("ok", "resync")]


async def test_joins_wait_for_the_stream_and_a_new_epoch_is_told() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    waiting = asyncio.create_task(house.router.wait_live())
    await asyncio.sleep(0)
    assert not waiting.done()
    await house.router.on_live("e1", is_new_epoch=False)
    await asyncio.wait_for(waiting, 1)
    house.fanout.flush()
    assert receiver.take() == []
    await house.router.on_down("restart")
    assert not house.router.is_live
    await house.router.on_live("e2", is_new_epoch=True)
    house.fanout.flush()
    assert notices_of(receiver.take()) == [("ok", "resync")]


async def test_while_the_database_is_away_routing_waits_and_skips_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidewire.engine.change_router.RETRY_MIN_S", 0.001)
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    house.catalogs.down = True
    sending = asyncio.create_task(house.send(insert(relation_of(table()), b"1", b"a", None)))
    await asyncio.wait_for(house.catalogs.refused.wait(), 5)
    assert not sending.done()
    assert receiver.take() == []
    house.catalogs.down = False
    await asyncio.wait_for(sending, 5)
    assert len(rows_of(receiver.take())) == 1


async def test_without_subscriptions_nothing_is_asked() -> None:
    house = House(catalog(table()))
    await house.send(insert(relation_of(table()), b"1", b"a", None))
    assert house.catalogs.refreshes == 0
    receiver, _ = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"1", b"a", None))
    assert len(rows_of(receiver.take())) == 1


async def test_a_table_that_left_the_publication_is_told_and_comes_back() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join(ALL)
    relation = relation_of(table())
    await house.send(insert(relation, b"1", b"a", None))
    house.catalogs.newest = catalog()
    await house.router.receive([transaction(LogicalMessage("tidewire.ddl", b""))])
    house.catalogs.newest = catalog(msgspec.structs.replace(table(), oid=TRIPS + 1))
    recreated = relation_of(msgspec.structs.replace(table(), oid=TRIPS + 1))
    await house.send(insert(recreated, b"2", b"a", None))
    frames = receiver.take()
    assert [row["record"]["id"] for row in rows_of(frames)] == [1, 2]
    assert [status for status, _ in notices_of(frames)] == ["error", "ok"]


async def test_a_column_dropped_since_is_shown_to_those_who_could_read_it_before() -> None:
    before, after = table(), table(columns=(("id", 23), ("status", 25)))
    house = House(catalog(before, author=may_read("id", "status")))
    whole, _ = await house.join(ALL)
    part, _ = await house.join(ALL, role="author")
    # The column goes, and at the same moment `author` may read the whole table.
    everything = {TRIPS: TableAccess(frozenset({"id", "status"}), True, True)}
    house.catalogs.newest = catalog(after, author=everything)
    await house.send(insert(relation_of(before), b"1", b"a", b"b"))
    assert [set(row["record"]) for row in rows_of(whole.take())] == [{"id", "status", "note"}]
    assert [set(row["record"]) for row in rows_of(part.take())] == [{"id", "status"}]


async def test_a_column_that_was_never_seen_readable_is_not_shown_when_it_is_gone() -> None:
    house = House(catalog(table(columns=(("id", 23), ("status", 25)))))
    receiver, _ = await house.join(ALL)
    await house.send(insert(relation_of(table()), b"1", b"a", b"b"))
    assert [set(row["record"]) for row in rows_of(receiver.take())] == [{"id", "status"}]


async def test_equal_entries_of_a_channel_share_one_id_in_the_frame() -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join(ALL, ALL, {**ALL, "filter": "id=eq.1"})
    await house.send(insert(relation_of(table()), b"1", b"a", None))
    ((_, payload),) = receiver.take()
    assert sorted(payload["ids"]) == sorted(set(outcome.group.ids))


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | None] = []

    def on_message(self, content: bytes) -> None:
        self.told.append(content)

    def on_gap(self) -> None:
        self.told.append(None)


@pytest.mark.parametrize("is_subscribed", [True, False])
async def test_messages_of_a_prefix_reach_who_listens_to_it_in_order(is_subscribed: bool) -> None:
    house = House(catalog(table()))
    if is_subscribed:
        await house.join(ALL)
    listener = Listener()
    house.router.listen("tidewire.x", listener)
    await house.send(
        LogicalMessage("tidewire.x", b"1"),
        LogicalMessage("tidewire.y", b"other"),
        insert(relation_of(table()), b"7", b"paid", None),
        LogicalMessage("tidewire.x", b"2"),
    )
    assert listener.told == [b"1", b"2"]


@pytest.mark.parametrize("is_subscribed", [True, False])
async def test_a_gap_is_told_to_who_listens_to_messages(is_subscribed: bool) -> None:
    house = House(catalog(table()))
    if is_subscribed:
        await house.join(ALL)
    listener = Listener()
    house.router.listen("tidewire.x", listener)
    await house.router.on_live("epoch", is_new_epoch=False)
    assert listener.told == [None]
    await house.router.receive([transaction(overflowed=True)])
    assert listener.told == [None, None]
