from __future__ import annotations

from tests.support.changes import catalog, may_read, table
from tidewire.adapters.memory.policy_free import PolicyFreeAuthorizer

authorizer = PolicyFreeAuthorizer()


def test_columns_are_those_with_the_privilege() -> None:
    state = catalog(table(), anon=may_read("id"))
    decision = authorizer.read_decision(state, table(), "anon")
    assert (decision.rows, decision.columns) == (True, {"id"})


def test_row_security_leaves_rows_to_roles_that_it_does_not_bind() -> None:
    guarded = table(has_row_security=True)
    state = catalog(guarded)
    assert not authorizer.read_decision(state, guarded, "anon").rows
    assert authorizer.read_decision(state, guarded, "service_role").rows


def test_unknown_roles_and_tables_get_nothing() -> None:
    state = catalog(table(), ghost=None)
    for role in ("ghost", "never asked"):
        decision = authorizer.read_decision(state, table(), role)
        assert (decision.rows, decision.columns) == (False, frozenset())
    assert not authorizer.read_decision(state, table(99, "other"), "anon").rows
