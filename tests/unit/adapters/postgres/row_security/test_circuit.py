from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from tidewire.adapters.postgres.row_security import circuit
from tidewire.adapters.postgres.row_security.circuit import FAILURES_MAX, HOLD_S, Circuit
from tidewire.core.row_policy import RowPolicy, Tier

POLICY, OTHER = (RowPolicy(1, "anon", "true", Tier.LOOP) for _ in range(2))
KEYS = frozenset({b"a", b"b"})


def fail(kept: Circuit, times: int) -> None:
    for _ in range(times):
        kept.note(POLICY, {b"a"}, KEYS)


def test_a_viewer_is_kept_out_after_some_failures_in_a_row_and_for_a_while() -> None:
    clock = ManualClock()
    kept = Circuit(clock)
    fail(kept, FAILURES_MAX - 1)
    assert kept.held(POLICY, KEYS) == frozenset()
    fail(kept, 1)
    assert kept.held(POLICY, KEYS) == {b"a"}
    assert kept.held(OTHER, KEYS) == frozenset()
    clock.advance(HOLD_S + 0.1)
    assert kept.held(POLICY, KEYS) == frozenset()
    fail(kept, 1)
    assert kept.held(POLICY, KEYS) == {b"a"}


def test_a_success_between_failures_begins_anew() -> None:
    kept = Circuit(ManualClock())
    fail(kept, FAILURES_MAX - 1)
    kept.note(POLICY, set(), KEYS)
    fail(kept, FAILURES_MAX - 1)
    assert kept.held(POLICY, KEYS) == frozenset()


def test_a_slow_policy_keeps_everybody_out_for_a_while() -> None:
    clock = ManualClock()
    kept = Circuit(clock)
    kept.hold_policy(POLICY)
    assert kept.held(POLICY, KEYS) == KEYS
    assert kept.held(OTHER, KEYS) == frozenset()
    clock.advance(HOLD_S + 0.1)
    assert kept.held(POLICY, KEYS) == frozenset()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "ENTRIES_MAX", 3)
    kept = Circuit(ManualClock())
    for number in range(10):
        key = str(number).encode()
        for _ in range(FAILURES_MAX):
            kept.note(POLICY, {key}, {key})
        kept.hold_policy(RowPolicy(number, "anon", "true", Tier.LOOP))
    everybody = frozenset(str(number).encode() for number in range(10))
    assert kept.held(POLICY, everybody) == {b"7", b"8", b"9"}
