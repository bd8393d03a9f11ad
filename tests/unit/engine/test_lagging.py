"""One who reads too slowly gets less, ends right, and costs the others nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.changes import delete, insert, update
from tests.support.rows import make_row
from tests.support.slow import OUTBOX_BYTES, SlowHouse
from tidewire.core.change import Change, ChangeKind, ReplicaIdentity
from tidewire.engine.audience import SLICE_WRITES
from tidewire.engine.lagging import PATIENCE_PAUSE_S, PATIENCE_S, PATIENCE_SPENT_MAX, TOO_SLOW

NOTE = b"n" * 60


def rows(got: list[tuple[str, Any]]) -> list[tuple[str, int, Any]]:
    """(type, id, status) of each change."""
    found = []
    for event, payload in got:
        if event == "postgres_changes":
            data = payload["data"]
            row = data.get("record") or data["old_record"]
            found.append((data["type"], row["id"], row.get("status")))
    return found


def texts(got: list[tuple[str, Any]]) -> list[str]:
    return [payload["message"] for event, payload in got if event == "system"]


def stall(house: SlowHouse, peer: Any) -> int:
    """Send changes of rows of their own until the peer is behind; gives how many."""
    count = 0
    while peer not in house.laggards:
        count += 1
        house.offer(insert(house.relation, b"%d" % (9000 + count), b"filler", NOTE))
        assert count < 50
    return count


async def conflated(*changes: Change, house: SlowHouse) -> list[tuple[str, int, Any]]:
    _, peer = house.join("slow")
    filler = stall(house, peer)
    for change in changes:
        house.offer(change)
    got = rows(await house.drain(peer))
    assert peer not in house.laggards
    assert [kind for kind, *_ in got[:filler]] == ["INSERT"] * filler
    return got[filler:]


async def test_of_several_updates_of_a_row_the_last_comes():
    house = SlowHouse()
    relation = house.relation
    changes = [update(relation, b"1", b"%d" % n, NOTE) for n in range(5)]
    assert await conflated(*changes, house=house) == [("UPDATE", 1, "4")]
    assert house.stats.changes_conflated_total == 4


@pytest.mark.parametrize("identity", [ReplicaIdentity.DEFAULT, ReplicaIdentity.FULL])
async def test_what_stays_of_each_pair(identity):
    def make(kind: str, status: bytes) -> Change:
        if kind == "I":
            return insert(house.relation, b"1", status, NOTE)
        if kind == "U":
            return update(house.relation, b"1", status, NOTE)
        old = (b"1", None, None) if identity is ReplicaIdentity.DEFAULT else (b"1", status, NOTE)
        return delete(house.relation, *old)

    kept = {"II": "II", "IU": "IU", "ID": "D", "UI": "I", "UU": "U", "UD": "D"}
    kept |= {"DI": "DI", "DU": "DU", "DD": "D", "IUUU": "IU", "IUD": "D", "DIUUD": "D"}
    kept |= {"IDIU": "DIU", "UDI": "DI"}
    for sent, stays in kept.items():
        house = SlowHouse(identity)
        changes = [make(kind, b"%d" % n) for n, kind in enumerate(sent)]
        got = await conflated(*changes, house=house)
        assert "".join(kind[0] for kind, *_ in got) == stays, sent
        if stays[-1] != "D":
            assert got[-1][2] == str(len(sent) - 1), sent


async def test_an_update_that_left_columns_out_does_not_replace_one_that_showed_them():
    house = SlowHouse()
    relation = house.relation
    got = await conflated(
        update(relation, b"1", b"a", b"the note"),
        update(relation, b"1", b"b", ...),
        update(relation, b"1", b"c", ...),
        house=house,
    )
    assert [status for _, _, status in got] == ["a", "c"]


async def test_a_change_of_the_key_is_kept_with_all_before_it():
    house = SlowHouse()
    relation = house.relation
    moved = Change(
        ChangeKind.UPDATE, relation, make_row(b"2", b"b", NOTE), make_row(b"1", None, None)
    )
    got = await conflated(
        update(relation, b"1", b"a", NOTE),
        update(relation, b"2", b"x", NOTE),
        moved,
        update(relation, b"2", b"c", NOTE),
        update(relation, b"2", b"d", NOTE),
        house=house,
    )
    assert got == [
        ("UPDATE", 1, "a"),
        ("UPDATE", 2, "x"),
        ("UPDATE", 2, "b"),
        ("UPDATE", 2, "d"),
    ]


async def test_frames_for_other_entries_do_not_replace_each_other():
    house = SlowHouse()
    _, peer = house.join("slow")
    filler = stall(house, peer)
    for ids in (b"1", b"1,2", b"1"):
        house.offer(update(house.relation, b"1", ids, NOTE), ids)
    got = rows(await house.drain(peer))[filler:]
    assert [status for *_, status in got] == ["1,2", "1"]


async def test_the_others_get_every_frame_at_once():
    house = SlowHouse()
    _, slow = house.join("slow")
    _, quick = house.join("quick")
    got: list[tuple[str, Any]] = []
    for number in range(200):
        house.offer(update(house.relation, b"1", b"%d" % number, NOTE))
        got += quick.read()
    assert [status for *_, status in rows(got)] == [str(n) for n in range(200)]
    assert slow.most_bytes < 2 * OUTBOX_BYTES
    assert quick not in house.laggards


async def test_after_catching_up_frames_come_at_once_again():
    house = SlowHouse()
    _, peer = house.join("slow")
    stall(house, peer)
    house.offer(update(house.relation, b"1", b"held", NOTE))
    await house.drain(peer)
    house.offer(update(house.relation, b"1", b"direct", NOTE))
    assert [status for *_, status in rows(peer.read())] == ["direct"]
    assert house.stats.slow_readers == 0
    assert house.stats.slow_readers_total == 1


async def test_beyond_the_bound_all_is_thrown_away_and_the_client_fetches_again():
    house = SlowHouse(conflated_frames_max=20)
    _, peer = house.join("slow")
    filler = stall(house, peer)
    for number in range(100):
        house.offer(insert(house.relation, b"%d" % number, b"x", NOTE))
    backlog: Any = house.fanout.backlogs[peer]
    assert len(backlog._kept) == 0
    got = await house.drain(peer)
    assert len(rows(got)) == filler
    resync = [p for e, p in got if e == "system"]
    assert resync == [
        {
            "extension": "postgres_changes",
            "status": "ok",
            "message": "resync",
            "channel": "room",
            "reason": TOO_SLOW,
        }
    ]
    house.offer(insert(house.relation, b"1", b"after", NOTE))
    assert rows(peer.read()) == [("INSERT", 1, "after")]
    assert house.stats.slow_resyncs_total == 1


async def test_the_bytes_that_are_kept_are_bounded():
    house = SlowHouse(conflated_bytes_max=5_000)
    _, peer = house.join("slow")
    stall(house, peer)
    backlog: Any = house.fanout.backlogs[peer]
    for number in range(300):
        house.offer(insert(house.relation, b"%d" % number, b"x", NOTE))
        house.say("broadcast", b'{"event":"e","payload":{}}')
        assert backlog._kept.size_bytes <= 5_000
        counted = sum(held.size_bytes for held in backlog._kept._held.values())
        assert backlog._kept.size_bytes == counted


async def test_the_newest_broadcasts_are_kept_and_the_others_counted():
    house = SlowHouse(kept_broadcasts_max=3)
    _, peer = house.join("slow")
    filler = stall(house, peer)
    for number in range(10):
        house.say("broadcast", b'{"event":"e","payload":{"n":%d}}' % number)
    got = (await house.drain(peer))[filler:]
    assert [p["payload"]["n"] for e, p in got if e == "broadcast"] == [7, 8, 9]
    assert texts(got) == [f"7 broadcasts were dropped: {TOO_SLOW}"]
    assert got[-1][1]["status"] == "ok"  # an error would make supabase-py join again
    assert house.stats.broadcasts_dropped_total == 7


async def test_broadcasts_give_way_before_changes_do():
    house = SlowHouse(conflated_bytes_max=3_000, kept_broadcasts_max=1000)
    _, peer = house.join("slow")
    filler = stall(house, peer)
    house.offer(update(house.relation, b"1", b"kept", NOTE))
    for _ in range(100):
        house.say("broadcast", b'{"event":"e","payload":{"filler":"%b"}}' % NOTE)
    got = await house.drain(peer)
    assert rows(got)[filler:] == [("UPDATE", 1, "kept")]
    assert "resync" not in texts(got)


async def test_presence_is_told_as_a_fresh_state():
    house = SlowHouse()
    channel, peer = house.join("slow")
    filler = stall(house, peer)
    for _ in range(5):
        house.say("presence_diff", b'{"joins":{},"leaves":{}}')
    got = (await house.drain(peer))[filler:]
    assert [event for event, _ in got] == ["presence_state"]
    assert house.states == [channel]


async def test_system_messages_are_kept():
    house = SlowHouse(conflated_frames_max=20)
    _, peer = house.join("slow")
    stall(house, peer)
    house.say("system", b'{"message":"important"}')
    for number in range(100):
        house.offer(insert(house.relation, b"%d" % number, b"x", NOTE))
    assert texts(await house.drain(peer)) == ["important", "resync"]


async def test_a_channel_that_left_gets_nothing_that_was_kept_for_it():
    house = SlowHouse()
    channel, peer = house.join("slow")
    filler = stall(house, peer)
    house.offer(update(house.relation, b"1", b"kept", NOTE))
    house.say("presence_diff", b'{"joins":{},"leaves":{}}')
    house.leave(channel)
    got = await house.drain(peer)
    assert len(got) == filler
    assert peer not in house.laggards
    assert len(house.changes) == 0


async def test_who_may_hear_it_no_longer_gets_nothing_that_was_kept():
    house = SlowHouse()
    channel, peer = house.join("slow")
    filler = stall(house, peer)
    house.say("broadcast", b'{"event":"secret","payload":{}}')
    house.offer(update(house.relation, b"1", b"kept", NOTE))
    assert channel.room is not None
    channel.room.discard(channel)  # as when its right to read is taken
    got = (await house.drain(peer))[filler:]
    assert rows(got) == [("UPDATE", 1, "kept")]
    assert "broadcast" not in [event for event, _ in got]


async def test_who_joins_while_the_connection_lags_gets_its_frames_in_order():
    house = SlowHouse()
    _, peer = house.join("slow")
    filler = stall(house, peer)
    other = house.join("other")[0]
    other.peer, other.transport = peer, peer
    house.changes.discard(other)
    house.changes.add(other)
    house.offer(update(house.relation, b"1", b"x", NOTE))
    before = peer.buffered_bytes
    house.offer(update(house.relation, b"2", b"y", NOTE))
    assert peer.buffered_bytes == before
    got = rows(await house.drain(peer))[filler:]
    assert sorted(got) == sorted([("UPDATE", 1, "x"), ("UPDATE", 2, "y")] * 2)


async def test_a_connection_that_ends_leaves_nothing_behind():
    house = SlowHouse()
    channel, peer = house.join("slow")
    stall(house, peer)
    house.leave(channel)
    house.laggards.forget(peer)
    assert house.fanout.backlogs == {}
    assert len(house.laggards) == 0
    assert house.stats.slow_readers == 0


async def test_frames_on_their_way_in_slices_are_kept_too():
    house = SlowHouse()
    _, peer = house.join("slow")
    others = [house.join(f"o{n}")[1] for n in range(2 * SLICE_WRITES)]
    house.changes.offer(house.frame(insert(house.relation, b"1", b"x", NOTE)))
    await asyncio.sleep(0)  # the first slice is out, the slow one is still to come
    assert peer.buffer == []
    assert sum(bool(other.buffer) for other in others) == SLICE_WRITES
    peer.is_paused = True
    house.laggards.paused(peer)
    house.fanout.flush()
    assert peer.buffer == []
    assert rows(await house.drain(peer)) == [("INSERT", 1, "x")]
    assert all(len(rows(other.read())) == 1 for other in others)


async def test_the_stream_waits_a_moment_for_one_that_reads_and_not_for_one_that_does_not():
    house = SlowHouse()
    _, peer = house.join("slow")
    assert not house.laggards.are_worth_waiting_for()
    stall(house, peer)
    assert house.laggards.are_worth_waiting_for()
    house.clock.advance(PATIENCE_S)
    assert not house.laggards.are_worth_waiting_for()
    await house.drain(peer)
    stall(house, peer)
    assert not house.laggards.are_worth_waiting_for()
    await house.drain(peer)
    house.clock.advance(PATIENCE_PAUSE_S)
    stall(house, peer)
    assert house.laggards.are_worth_waiting_for()


async def test_many_that_do_not_read_are_not_waited_for_one_after_the_other():
    house = SlowHouse()
    waited = 0
    for number in range(20):
        _, peer = house.join(f"slow {number}")
        stall(house, peer)
        waited += house.laggards.are_worth_waiting_for()
        house.clock.advance(PATIENCE_S)
        house.laggards.are_worth_waiting_for()
    assert waited <= PATIENCE_SPENT_MAX + 1


# ------------------------------------------------------------ against a model

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 5), st.integers(0, 4)),
        st.tuples(st.just("read"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("turn"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


class Client:
    """Applies what it gets, as an application does, and fetches when it is told to."""

    def __init__(self, table: dict[int, dict[str, Any]]) -> None:
        self.table = table
        self.rows: dict[int, dict[str, Any]] = {}
        self.resyncs = 0

    def apply(self, got: list[tuple[str, Any]]) -> None:
        for event, payload in got:
            if event == "system" and payload["message"] == "resync":
                self.resyncs += 1
                self.rows = {key: dict(row) for key, row in self.table.items()}
            elif event == "postgres_changes":
                self._apply(payload["data"])

    def _apply(self, data: dict[str, Any]) -> None:
        if data["type"] == "DELETE":
            self.rows.pop(data["old_record"]["id"], None)
            return
        row = data["record"]
        former = data.get("old_record", row)["id"]
        before = self.rows.pop(former, {}) if data["type"] == "UPDATE" else {}
        self.rows[row["id"]] = {**before, **row}


class Writer:
    """Changes a table at random, and says so to the house."""

    def __init__(self, house: SlowHouse, splits_entries: bool) -> None:
        self.house = house
        self.table: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._splits = splits_entries

    def write(self, key: int, how: int) -> None:
        self._number += 1
        status = f"s{self._number}"
        relation, row = self.house.relation, self.table.get(key)
        full = relation.identity is ReplicaIdentity.FULL
        if row is None:
            self.table[key] = {"id": key, "status": status, "note": status * 9}
            self._offer(insert(relation, *_cells(self.table[key])))
        elif how == 0:
            del self.table[key]
            self._offer(delete(relation, *(_cells(row) if full else (b"%d" % key, None, None))))
        elif how == 1 and key + 10 not in self.table:
            moved = self.table[key + 10] = {**self.table.pop(key), "id": key + 10}
            old = _cells(row) if full else (b"%d" % key, None, None)
            new: list[Any] = _cells(moved)
            if not full:
                new[2] = ...  # a long value that the update did not touch
            change = Change(ChangeKind.UPDATE, relation, make_row(*new), make_row(*old), full)
            self._offer(change)
        elif how == 2:
            row["status"] = status
            self._offer(update(relation, b"%d" % key, status.encode(), ..., old=None))
        else:
            old = tuple(_cells(row)) if full else None
            row |= {"status": status, "note": status * 9}
            self._offer(update(relation, *_cells(row), old=old))

    def _offer(self, change: Change) -> None:
        is_split = self._splits and change.kind is ChangeKind.INSERT
        self.house.offer(change, b"1,2" if is_split else b"1")


def _cells(row: dict[str, Any]) -> list[bytes]:
    return [str(row[name]).encode() for name in ("id", "status", "note")]


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    identity=st.sampled_from([ReplicaIdentity.DEFAULT, ReplicaIdentity.FULL]),
    frames_max=st.sampled_from([2, 6, 40]),
    splits=st.booleans(),
)
def test_a_client_that_applies_what_it_gets_ends_with_the_tables_state(
    steps, identity, frames_max, splits
):
    async def run() -> None:
        house = SlowHouse(identity, conflated_frames_max=frames_max)
        writer = Writer(house, splits)
        peers = [house.join(name)[1] for name in ("one", "two")]
        clients = [Client(writer.table) for _ in peers]
        for what, number, how in steps:
            if what == "write":
                writer.write(number, how)
            elif what == "read":
                clients[number].apply(peers[number].read())
            else:
                await asyncio.sleep(0)
            # What it fell behind with, and what was kept, in one piece.
            assert all(peer.most_bytes < 3 * OUTBOX_BYTES + frames_max * 400 for peer in peers)
        for peer, client in zip(peers, clients, strict=True):
            client.apply(await house.drain(peer))
            assert client.rows == writer.table
            assert peer not in house.laggards
        assert house.fanout.backlogs == {}

    asyncio.run(run())
