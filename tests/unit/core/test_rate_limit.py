import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.rate_limit import DEBT_MAX_S, REFUSED, Meter, Rates, RollingAverage, rates


def meter(per_s: float, *, bytes_per_s: float = 0, burst_s: float = 1.0) -> Meter:
    limit = rates(per_s, bytes_per_s=bytes_per_s, burst_s=burst_s)
    assert limit is not None
    return Meter(limit)


def test_no_rate_is_no_limit():
    assert rates(0, burst_s=1) is None
    assert rates(0, bytes_per_s=0, burst_s=1) is None
    assert rates(4, burst_s=2) == Rates(0.25, 0.0, 2.0)


def test_a_burst_passes_then_the_sender_is_slowed_then_refused():
    one = meter(10, burst_s=2)
    assert [one.take(100.0) for _ in range(20)] == [0.0] * 20
    slowed = [one.take(100.0) for _ in range(11)]
    assert slowed == pytest.approx([0.1 * n for n in range(1, 12)])
    assert one.take(100.0) == REFUSED
    assert one.take(100.0) == REFUSED  # and nothing more is owed for it
    assert one.take(100.2) == pytest.approx(1.0)


def test_what_is_used_up_comes_back_with_time():
    one = meter(10, burst_s=2)
    for _ in range(20):
        one.take(0.0)
    assert one.wait_s(0.0) == pytest.approx(0.1)
    assert one.wait_s(0.1) == 0.0
    assert [one.take(50.0) for _ in range(20)] == [0.0] * 20
    assert one.take(50.0) > 0


def test_one_message_always_passes_however_low_the_rate():
    one = meter(0.1, burst_s=1)
    assert one.take(0.0) == 0.0
    assert one.take(0.0) == pytest.approx(10.0)
    assert one.take(0.0) == REFUSED


def test_bytes_are_limited_beside_messages():
    one = meter(1000, bytes_per_s=1000, burst_s=1)
    assert one.take(0.0, 1000) == 0.0
    assert one.take(0.0, 500) == pytest.approx(0.5)
    assert one.owes_bytes(0.0)
    assert one.take(0.0, 600) == pytest.approx(1.1)
    assert one.take(0.0, 1) == REFUSED


def test_a_sender_that_owes_little_may_send_any_size():
    one = meter(0, bytes_per_s=1000, burst_s=1)
    assert one.take(0.0, 5000) == pytest.approx(4.0)
    assert one.take(0.0, 1) == REFUSED
    assert one.take(3.5, 1) == pytest.approx(0.501)


def test_messages_are_named_when_messages_are_owed():
    one = meter(10, bytes_per_s=1_000_000, burst_s=1)
    for _ in range(15):
        one.take(0.0, 10)
    assert not one.owes_bytes(0.0)


@given(
    per_s=st.floats(0.5, 1e4),
    burst_s=st.floats(0.1, 10),
    steps=st.lists(st.floats(0, 1), max_size=60),
)
def test_never_more_passes_than_the_rate_and_its_bounds_allow(per_s, burst_s, steps):
    one = meter(per_s, burst_s=burst_s)
    now_s = passed = 0.0
    for step_s in steps:
        now_s += step_s
        for _ in range(50):
            passed += one.take(now_s) != REFUSED
    burst_s = max(burst_s, 1 / per_s)
    assert passed <= (now_s + burst_s + DEBT_MAX_S) * per_s + 1.001


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 50)), max_size=40))
def test_a_wait_is_long_enough(steps):
    one = meter(10, burst_s=1)
    now_s = 1000.0
    for step_s, count in steps:
        now_s += step_s
        for _ in range(count):
            one.take(now_s)
    later_s = now_s + one.wait_s(now_s)
    assert one.take(later_s + 1e-6) == 0.0


def test_the_average_forgets_what_is_older_than_its_window():
    average = RollingAverage(10, step_s=1)
    assert average.per_s(0.0, 0) == 0
    assert average.per_s(1.0, 100) == 10
    assert average.per_s(9.5, 100) == 10
    assert average.per_s(25.0, 100) == 0


def test_the_average_keeps_few_samples_however_often_it_is_asked():
    average = RollingAverage(10, step_s=1)
    for number in range(10_000):
        average.per_s(number / 100, number)
    assert len(average._samples) <= 12
    assert average.per_s(100.0, 10_000) == pytest.approx(100, rel=0.11)
