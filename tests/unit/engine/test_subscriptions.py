from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.changes import (
    TRIPS,
    House,
    Receiver,
    catalog,
    insert,
    may_read,
    notices_of,
    relation_of,
    rows_of,
    table,
)
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.engine import table_route
from tidewire.engine.change_group import SUBSCRIBED, GroupState
from tidewire.engine.subscriptions import assign_ids

ALL = {"event": "*", "schema": "public", "table": "trips"}


def test_ids_are_stable_distinct_and_never_zero() -> None:
    requests = [b'{"a":%d}' % number for number in range(20_000)]
    ids = assign_ids(requests)
    assert ids == assign_ids(requests)
    assert len(set(ids)) == len(ids)
    assert all(0 < id_ < 1 << 27 for id_ in ids)
    assert assign_ids([b"x", b"y", b"x"])[0] == assign_ids([b"x", b"y", b"x"])[2]


async def test_a_join_is_told_its_own_words_and_ids() -> None:
    house = House(catalog(table()))
    odd = {"event": "insert", "table": "trips", "extra": [1.5, None], "filter": "id=eq.1"}
    _, outcome = await house.join(ALL, odd, ALL)
    echoes = [json.loads(echo) for echo in outcome.echoes]
    ids = [echo.pop("id") for echo in echoes]
    assert echoes == [ALL, odd, ALL]
    assert ids[0] == ids[2] != ids[1]
    assert [(n.status, n.message) for n in outcome.system] == [("ok", SUBSCRIBED)]


async def test_channels_that_ask_alike_are_one_group() -> None:
    house = House(catalog(table()))
    one, first = await house.join(ALL)
    two, second = await house.join(dict(reversed(ALL.items())))
    _, other_role = await house.join(ALL, role="service_role")
    _, other_topic = await house.join(ALL, topic="elsewhere")
    assert first.group is second.group
    assert len({id(o.group) for o in (first, other_role, other_topic)}) == 3
    house.subscriptions.unsubscribe(one, first.group)
    house.subscriptions.unsubscribe(one, first.group)
    assert len(house.subscriptions) == 3
    house.subscriptions.unsubscribe(two, first.group)
    assert len(house.subscriptions) == 2


async def test_nothing_is_kept_of_those_who_left() -> None:
    house = House(catalog(table()))
    for _ in range(3):
        receiver, outcome = await house.join({**ALL, "filter": "id=eq.1"}, ALL)
        assert house.subscriptions.route(TRIPS) is not None
        house.subscriptions.unsubscribe(receiver, outcome.group)
    assert house.subscriptions.route(TRIPS) is None
    assert len(house.subscriptions) == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"filter": "x=eq.1"}, "No subscription params provided."),
        ({**ALL, "filter": "wrong"}, 'Error parsing `filter` params: ["wrong"]'),
        ({**ALL, "select": "id"}, "Error parsing `select` params"),
    ],
)
async def test_a_bad_entry_means_no_subscription_at_all(entry: Any, message: str) -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join(ALL, entry)
    assert outcome.group is None
    assert len(outcome.echoes) == 2
    ((status, text),) = [(n.status, n.message) for n in outcome.system]
    assert status == "error"
    assert text.startswith(message)
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert receiver.take() == []


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({**ALL, "table": "x"}, "Please check Realtime is enabled for the given connect "
         "parameters: [event: *, schema: public, table: x, filters: [], select: nil]"),
        ({**ALL, "filter": "nope=eq.1"}, "ERROR P0001 (raise_exception) invalid column for "),
        ({**ALL, "select": ["nope"]}, "(raise_exception) invalid column for select nope"),
        ({**ALL, "filter": "note=eq.1"}, "(raise_exception) invalid column for filter note"),
        ({**ALL, "filter": "id=eq.bad"}, 'invalid input syntax for type integer: "bad"'),
        ({**ALL, "filter": "id=is.true"}, "is true filter requires a boolean column, got integer"),
        ({**ALL, "filter": "status=match.("}, "invalid regular expression for match filter: ("),
    ],
)  # fmt: skip
async def test_what_cannot_be_subscribed_is_said_and_harms_nobody(entry: Any, part: str) -> None:
    house = House(catalog(table(), anon=may_read("id", "status")))
    house.catalogs.judge = lambda comparison: None if comparison.literal == "(" else True
    good, _ = await house.join(ALL, topic="good")
    bad, outcome = await house.join(ALL, entry)
    (notice,) = outcome.system
    assert notice.status == "error"
    assert notice.message.startswith("Unable to subscribe to changes with given parameters.")
    assert part in notice.message
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert len(rows_of(good.take())) == 1
    assert bad.take() == []


async def test_a_missing_table_comes_alive_by_itself_and_may_go_again() -> None:
    house = House(catalog())
    receiver, outcome = await house.join(ALL)
    assert outcome.system[0].status == "error"
    house.catalogs.newest = catalog(table())
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    events = receiver.take()
    assert [event for event, _ in events] == ["system", "postgres_changes"]
    assert notices_of(events) == [("ok", SUBSCRIBED)]
    house.catalogs.newest = catalog()
    house.clock.advance(2)
    await house.send()
    ((status, message),) = notices_of(receiver.take())
    assert status == "error"
    assert "Please check Realtime is enabled" in message
    assert outcome.group.state is GroupState.WAITING


async def test_another_join_brings_waiting_groups_to_life_too() -> None:
    house = House(catalog())
    waiting, _ = await house.join(ALL)
    house.catalogs.newest = catalog(table())
    await house.join(ALL, topic="other")
    house.fanout.flush()
    assert notices_of(waiting.take()) == [("ok", SUBSCRIBED)]


async def test_a_grant_makes_a_filter_on_its_column_work() -> None:
    house = House(catalog(table(), anon=may_read("id")))
    receiver, outcome = await house.join({**ALL, "filter": "status=eq.new"})
    assert outcome.system[0].status == "error"
    house.catalogs.newest = catalog(table())
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert [row["record"]["id"] for row in rows_of(receiver.take())] == [1]


async def test_changes_of_the_catalogue_that_concern_nobody_move_nobody() -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join({**ALL, "filter": "status=eq.new"})
    bindings = outcome.group.bindings
    house.catalogs.newest = catalog(table(), table(99, "other"))
    await house.join(ALL, topic="elsewhere")
    assert outcome.group.bindings is bindings
    assert receiver.take() == []


async def test_a_wildcard_takes_new_tables_in() -> None:
    house = House(catalog(table()))
    receiver, _ = await house.join({"schema": "*"})
    other = table(99, "other")
    house.catalogs.newest = catalog(table(), other)
    await house.send(
        insert(relation_of(table()), b"1", b"a", None), insert(relation_of(other), b"2", b"b", None)
    )
    assert [row["table"] for row in rows_of(receiver.take())] == ["trips", "other"]


async def test_a_join_that_cannot_be_judged_leaves_nothing_behind() -> None:
    house = House(catalog(table()))
    house.catalogs.down = True
    with pytest.raises(DatabaseUnavailableError):
        await house.join(ALL)
    assert len(house.subscriptions) == 0


async def test_a_cancelled_join_leaves_nothing_behind() -> None:
    house = House(catalog(table()))
    house.catalogs.hold = asyncio.Event()
    joining = asyncio.create_task(house.join({**ALL, "filter": "status=match.a+"}))
    await house.catalogs.asked.wait()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    house.catalogs.hold.set()
    assert len(house.subscriptions) == 0


async def test_joins_at_once_share_one_group() -> None:
    house = House(catalog(table()))
    outcomes = await asyncio.gather(*(house.join(ALL) for _ in range(50)))
    assert len({id(outcome.group) for _, outcome in outcomes}) == 1
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert all(len(rows_of(receiver.take())) == 1 for receiver, _ in outcomes)


async def test_a_change_of_role_changes_what_is_seen() -> None:
    house = House(catalog(table(), anon=may_read("id"), author=may_read("id", "status")))
    receiver, outcome = await house.join(ALL)
    group = await house.subscriptions.set_role(receiver, outcome.group, "author")
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert [row["record"] for row in rows_of(receiver.take())] == [{"id": 1, "status": "new"}]
    assert await house.subscriptions.set_role(receiver, group, "author") is group
    assert len(house.subscriptions) == 1


async def test_a_channel_that_left_does_not_come_back_by_a_change_of_role() -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join(ALL)
    changing = asyncio.create_task(
        house.subscriptions.set_role(receiver, outcome.group, "service_role")
    )
    await asyncio.sleep(0)
    house.subscriptions.unsubscribe(receiver, outcome.group)
    await changing
    assert len(house.subscriptions) == 0


async def test_filters_that_no_index_helps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_route, "UNANCHORED_MAX", 3)
    house = House(catalog(table()))
    for number in range(3):
        await house.join({**ALL, "filter": f"note=like.{number}%"})
    _, again = await house.join({**ALL, "filter": "note=like.1%"}, topic="again")
    _, one_more = await house.join({**ALL, "filter": "note=like.9%"})
    assert again.system[0].status == "ok"
    assert "compare neither by eq" in one_more.system[0].message


async def test_a_member_sees_nothing_more_after_leaving() -> None:
    house = House(catalog(table()))
    receiver, outcome = await house.join(ALL)
    stays, _ = await house.join(ALL)
    house.subscriptions.unsubscribe(receiver, outcome.group)
    await house.send(insert(relation_of(table()), b"1", b"new", None))
    assert (len(receiver.take()), len(rows_of(stays.take()))) == (0, 1)
    assert isinstance(receiver, Receiver)


async def test_joins_that_wait_for_the_database_together_share_one_group() -> None:
    house = House(catalog(table()))
    house.catalogs.hold = asyncio.Event()
    entry = {**ALL, "filter": "status=match.a+"}
    joining = [asyncio.create_task(house.join(entry)) for _ in range(3)]
    await house.catalogs.asked.wait()
    house.catalogs.hold.set()
    outcomes = await asyncio.gather(*joining)
    assert len({id(outcome.group) for _, outcome in outcomes}) == 1
    assert len(house.subscriptions) == 1


async def test_a_join_is_judged_again_when_the_catalogue_changes_under_it() -> None:
    house = House(catalog(table()))
    house.catalogs.hold = asyncio.Event()
    joining = asyncio.create_task(house.join({**ALL, "filter": "status=match.a+"}))
    await house.catalogs.asked.wait()
    house.catalogs.newest = catalog(table(), anon=may_read("id"))
    await house.catalogs.refresh()
    house.catalogs.hold.set()
    _, outcome = await joining
    assert outcome.group.state is GroupState.WAITING
    assert "invalid column for filter status" in outcome.system[0].message
