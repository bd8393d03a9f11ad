from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tests.support.peers import FakePeer
from tidewire.engine.channel import Channel
from tidewire.engine.expiry import Expiry
from tidewire.ports.token_verifier import Claims

HORIZON_S = 3600.0


def channel_until(end_s: float) -> Channel:
    return Channel(FakePeer("p"), b"1", Claims("anon", end_s, {}), "t")


@given(st.lists(st.floats(0.1, 30)), st.lists(st.floats(0.05, 5), max_size=30))
def test_each_channel_expires_once_at_the_first_look_after_its_end(lifetimes, steps):
    clock = ManualClock()
    expiry = Expiry(clock, horizon_s=HORIZON_S)
    channels = [channel_until(clock.wall_s() + lifetime) for lifetime in lifetimes]
    for channel in channels:
        expiry.watch(channel)
    seen: list[Channel] = []
    for step in steps:
        clock.advance(step)
        seen += expiry.take_expired()
        ended = [c for c in channels if c.claims.expires_at_s <= clock.wall_s()]
        assert set(map(id, seen)) == set(map(id, ended))
    assert len(set(map(id, seen))) == len(seen)
    assert len(expiry) == len(channels) - len(seen)


def test_a_newer_token_counts_instead_of_the_former():
    clock = ManualClock()
    expiry = Expiry(clock)
    channel = channel_until(clock.wall_s() + 5)
    expiry.watch(channel)
    channel.claims = Claims("anon", clock.wall_s() + 50, {})
    expiry.watch(channel)
    clock.advance(10)
    assert expiry.take_expired() == []
    clock.advance(50)
    assert expiry.take_expired() == [channel]


def test_a_closed_channel_is_forgotten():
    clock = ManualClock()
    expiry = Expiry(clock)
    channel = channel_until(clock.wall_s() + 5)
    expiry.watch(channel)
    expiry.forget(channel)
    assert len(expiry) == 0
    clock.advance(10)
    assert expiry.take_expired() == []


def test_a_token_of_years_is_held_only_when_its_end_comes_near():
    clock = ManualClock()
    expiry = Expiry(clock, horizon_s=HORIZON_S)
    channel = channel_until(clock.wall_s() + 10 * HORIZON_S)
    expiry.watch(channel)
    assert len(expiry) == 0
    for _ in range(10):
        expiry.rewatch([channel])
        clock.advance(HORIZON_S)
    assert expiry.take_expired() == [channel]


def test_a_clock_that_jumps_makes_a_look_due():
    clock = ManualClock()
    expiry = Expiry(clock, horizon_s=HORIZON_S)
    channel = channel_until(clock.wall_s() + 10 * HORIZON_S)
    expiry.watch(channel)
    expiry.rewatch([channel])
    clock.advance(1.0)
    assert not expiry.is_rewatch_due
    clock.set_wall(clock.wall_s() + 11 * HORIZON_S)
    assert expiry.is_rewatch_due
    expiry.rewatch([channel])
    assert expiry.take_expired() == [channel]
    clock.set_wall(clock.wall_s() - 5 * HORIZON_S)
    assert not expiry.is_rewatch_due
