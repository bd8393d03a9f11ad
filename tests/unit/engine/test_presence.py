import asyncio
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.peers import FakePeer
from tidewire.adapters.memory.presence_store import MemoryPresenceStore
from tidewire.core.topic import Topic
from tidewire.engine.audience import Fanout
from tidewire.engine.channel import Channel
from tidewire.engine.hub import Hub
from tidewire.engine.limits import Limits
from tidewire.engine.presence import Presence
from tidewire.engine.stats import Stats
from tidewire.engine.throttle import Throttle

TOPIC = Topic.parse("realtime:room")
GRACE_S = 3.0


class House:
    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.stats = Stats()
        self.fanout = Fanout(asyncio.get_running_loop())
        self.hub = Hub(self.fanout)
        self.presence = Presence(
            MemoryPresenceStore(),
            self.hub,
            self.clock,
            asyncio.get_running_loop(),
            node="n",
            throttle=Throttle(Limits(**limits), self.stats, self.clock),
            stats=self.stats,
            grace_s=GRACE_S,
        )

    def join(self, key: str, name: str = "") -> tuple[Channel, FakePeer]:
        peer = FakePeer(name or key)
        channel = Channel(peer, b'"1"', peer.claims, "")
        channel.presence_key = key
        channel.room = self.hub.enter(TOPIC, channel)
        channel.is_open = True
        return channel, peer

    def leave(self, channel: Channel, *, may_return: bool) -> None:
        assert channel.room is not None
        self.hub.leave(channel.room, channel)
        self.presence.release(channel, may_return=may_return)

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def house():
    return House()


async def test_a_track_is_told_to_everyone_in_the_room(house):
    ann, ann_peer = house.join("ann")
    _, bob_peer = house.join("bob")
    house.presence.track(ann, b'{"name":"Ann"}')
    await house.settle()
    for peer in (ann_peer, bob_peer):
        (diff,) = peer.events("presence_diff")
        assert diff["joins"]["ann"]["metas"][0]["name"] == "Ann"
        assert diff["leaves"] == {}


async def test_an_update_is_a_join_and_a_leave_under_the_same_key(house):
    ann, peer = house.join("ann")
    house.presence.track(ann, b'{"n":1}')
    await house.settle()
    house.presence.track(ann, b'{"n":2}')
    await house.settle()
    diff = peer.events("presence_diff")[1]
    new, old = diff["joins"]["ann"]["metas"][0], diff["leaves"]["ann"]["metas"][0]
    assert (new["n"], old["n"]) == (2, 1)
    assert new["phx_ref_prev"] == old["phx_ref"] != new["phx_ref"]


async def test_tracking_the_same_again_says_nothing(house):
    ann, peer = house.join("ann")
    house.presence.track(ann, b'{"n":1}')
    house.presence.track(ann, b'{"n":1}')
    await house.settle()
    assert len(peer.events("presence_diff")) == 1


async def test_changes_of_one_turn_are_one_diff(house):
    _, watcher = house.join("watcher")
    for number in range(20):
        house.presence.track(house.join(f"k{number}")[0], b"{}")
    await house.settle()
    (diff,) = watcher.events("presence_diff")
    assert len(diff["joins"]) == 20


async def test_two_channels_under_one_key_are_two_metas(house):
    one, peer = house.join("ann", "tab1")
    two, _ = house.join("ann", "tab2")
    house.presence.track(one, b'{"tab":1}')
    house.presence.track(two, b'{"tab":2}')
    house.presence.send_state(one)
    (state,) = peer.events("presence_state")
    assert [meta["tab"] for meta in state["ann"]["metas"]] == [1, 2]


async def test_the_state_holds_what_was_told_before_it_and_nothing_comes_twice(house):
    ann, _ = house.join("ann")
    house.presence.track(ann, b"{}")
    late, late_peer = house.join("late")
    house.presence.send_state(late)
    await house.settle()
    assert list(late_peer.events("presence_state")[0]) == ["ann"]


async def test_a_leave_is_told_at_once(house):
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    house.presence.track(ann, b"{}")
    await house.settle()
    house.leave(ann, may_return=False)
    await house.settle()
    assert list(bob.events("presence_diff")[1]["leaves"]) == ["ann"]
    assert house.presence.channels() == []


async def test_a_broken_connection_lingers_for_the_grace_and_then_leaves(house):
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    house.presence.track(ann, b"{}")
    await house.settle()
    house.leave(ann, may_return=True)
    house.clock.advance(GRACE_S - 0.1)
    house.presence.end_grace()
    await house.settle()
    assert len(bob.events("presence_diff")) == 1
    house.clock.advance(0.2)
    house.presence.end_grace()
    await house.settle()
    assert list(bob.events("presence_diff")[1]["leaves"]) == ["ann"]


async def test_a_key_that_returns_within_the_grace_never_disappears(house):
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    house.presence.track(ann, b'{"n":1}')
    await house.settle()
    house.leave(ann, may_return=True)
    again, _ = house.join("ann", "again")
    house.presence.track(again, b'{"n":2}')
    await house.settle()
    house.clock.advance(GRACE_S * 2)
    house.presence.end_grace()
    await house.settle()
    first, back = bob.events("presence_diff")
    assert back["leaves"] == first["joins"]
    assert back["joins"]["ann"]["metas"][0]["n"] == 2


async def test_a_key_that_returns_with_the_same_is_not_even_told(house):
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    house.presence.track(ann, b'{"n":1}')
    await house.settle()
    house.leave(ann, may_return=True)
    again, _ = house.join("ann", "again")
    house.presence.track(again, b'{"n":1}')
    house.clock.advance(GRACE_S * 2)
    house.presence.end_grace()
    await house.settle()
    assert len(bob.events("presence_diff")) == 1
    house.leave(again, may_return=False)
    await house.settle()
    assert list(bob.events("presence_diff")[1]["leaves"]) == ["ann"]


async def test_of_two_lingering_metas_a_channel_takes_the_one_it_showed(house):
    tabs = [house.join("ann", name)[0] for name in ("one", "two")]
    _, bob = house.join("bob")
    for number, tab in enumerate(tabs):
        house.presence.track(tab, b'{"n":%d}' % number)
    await house.settle()
    for tab in tabs:
        house.leave(tab, may_return=True)
    again, _ = house.join("ann", "again")
    house.presence.track(again, b'{"n":1}')
    house.clock.advance(GRACE_S)
    house.presence.end_grace()
    await house.settle()
    left = bob.events("presence_diff")[-1]["leaves"]["ann"]["metas"]
    assert [meta["n"] for meta in left] == [0]


async def test_what_came_and_went_within_a_turn_is_not_told(house):
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    house.presence.track(ann, b'{"n":0}')
    house.presence.untrack(ann)
    await house.settle()
    assert bob.events("presence_diff") == []
    house.presence.track(ann, b'{"n":1}')
    await house.settle()
    for number in range(2, 6):
        house.presence.track(ann, b'{"n":%d}' % number)
    await house.settle()
    first, second = bob.events("presence_diff")
    shown = first["joins"]["ann"]["metas"][0]
    assert second["leaves"]["ann"]["metas"] == [shown]
    (now,) = second["joins"]["ann"]["metas"]
    assert (now["n"], now["phx_ref_prev"]) == (5, shown["phx_ref"])


async def test_tracks_over_the_limit_are_put_off_and_the_newest_wins():
    house = House(channel_presence_per_s=1, burst_s=2)
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    for number in range(10):
        house.presence.track(ann, b'{"n":%d}' % number)
        await house.settle()
    assert [d["joins"]["ann"]["metas"][0]["n"] for d in bob.events("presence_diff")] == [0, 1]
    assert house.stats.tracks_put_off_total == 8
    house.presence.show_waiting()
    await house.settle()
    assert len(bob.events("presence_diff")) == 2  # its time has not come
    house.clock.advance(1.0)
    house.presence.show_waiting()
    await house.settle()
    assert bob.events("presence_diff")[-1]["joins"]["ann"]["metas"][0]["n"] == 9
    assert house.presence._waiting == {}


async def test_a_track_put_off_comes_by_itself():
    house = House(channel_presence_per_s=20, burst_s=0.05)
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    for number in range(3):
        house.presence.track(ann, b'{"n":%d}' % number)
    house.clock.advance(1.0)
    async with asyncio.timeout(5):
        while len(bob.events("presence_diff")) < 2:  # noqa: ASYNC110 - a timer sets no event of ours
            await asyncio.sleep(0.01)
    assert bob.events("presence_diff")[-1]["joins"]["ann"]["metas"][0]["n"] == 2


async def test_an_untrack_takes_what_was_put_off_with_it():
    house = House(channel_presence_per_s=1, burst_s=1)
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    for number in range(3):
        house.presence.track(ann, b'{"n":%d}' % number)
    house.presence.untrack(ann)
    house.clock.advance(10)
    house.presence.show_waiting()
    await house.settle()
    assert bob.events("presence_diff") == []


@pytest.mark.parametrize("may_return", [True, False])
async def test_a_channel_that_ends_takes_what_was_put_off_with_it(may_return):
    house = House(channel_presence_per_s=1, burst_s=1)
    ann, _ = house.join("ann")
    _, bob = house.join("bob")
    for number in range(3):
        house.presence.track(ann, b'{"n":%d}' % number)
    await house.settle()
    house.leave(ann, may_return=may_return)
    house.clock.advance(10)
    house.presence.show_waiting()
    house.presence.end_grace()
    await house.settle()
    assert [list(diff["joins"]) for diff in bob.events("presence_diff")] == [["ann"], []]


async def test_tracking_what_is_shown_again_takes_back_what_was_put_off():
    house = House(channel_presence_per_s=1, burst_s=1)
    ann, _ = house.join("ann")
    house.join("bob")
    for number in (0, 1, 0):
        house.presence.track(ann, b'{"n":%d}' % number)
    assert house.presence._waiting == {}
    assert ann.presence is not None
    assert ann.presence.payload == b'{"n":0}'
