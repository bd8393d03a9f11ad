from __future__ import annotations

from tidewire.core.policy_combine import Policy, combine


def test_without_a_permissive_policy_nobody_sees_anything() -> None:
    assert combine([]) is None
    assert combine([Policy(False, "true")]) is None


def test_one_policy_is_itself() -> None:
    assert combine([Policy(True, "(a = 1)")]) == "(a = 1)"


def test_permissive_policies_are_alternatives_and_restrictive_ones_conditions() -> None:
    policies = [Policy(True, "a"), Policy(False, "r"), Policy(True, "b"), Policy(False, "s")]
    assert combine(policies) == "(r) AND (s) AND ((a) OR (b))"
