"""What every `Authorizer` promises: never more than a SELECT under that role would show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidewire.adapters.memory.policy_free import PolicyFreeAuthorizer
from tidewire.core.catalog import Catalog, Table, TableAccess, TableColumn
from tidewire.ports.authorizer import Authorizer

ADAPTERS: list[Callable[[], Authorizer]] = [PolicyFreeAuthorizer]
OPEN = Table(1, "public", "open", (TableColumn("id", 20), TableColumn("name", 25)))
GUARDED = Table(2, "public", "guarded", OPEN.columns, has_row_security=True)


@pytest.fixture(params=ADAPTERS)
def authorizer(request: pytest.FixtureRequest) -> Authorizer:
    return request.param()


def catalog(access: dict[str, dict[int, TableAccess] | None]) -> Catalog:
    return Catalog("1", {1: OPEN, 2: GUARDED}, {}, access)


def may_read(*columns: str, bypasses_row_security: bool = True) -> TableAccess:
    return TableAccess(frozenset(columns), bypasses_row_security)


def test_a_role_sees_rows_with_the_columns_it_may_select(authorizer: Authorizer) -> None:
    access: dict[str, dict[int, TableAccess] | None] = {"anon": {1: may_read("id")}}
    decision = authorizer.read_decision(catalog(access), OPEN, "anon")
    assert (decision.rows, decision.columns, decision.reason) == (True, {"id"}, "")


@pytest.mark.parametrize(
    "access",
    [{}, {"anon": None}, {"anon": {}}, {"anon": {2: may_read("id", "name")}}, {"other": {}}],
)
def test_a_role_without_access_or_never_asked_about_sees_nothing(
    authorizer: Authorizer, access: dict[str, dict[int, TableAccess] | None]
) -> None:
    decision = authorizer.read_decision(catalog(access), OPEN, "anon")
    assert not decision.rows
    assert not decision.columns
    assert decision.reason


def test_row_security_that_binds_a_role_is_not_overlooked(authorizer: Authorizer) -> None:
    """Without a policy that says yes nothing of a guarded table is shown."""
    bound = may_read("id", "name", bypasses_row_security=False)
    free = may_read("id", "name")
    access: dict[str, dict[int, TableAccess] | None] = {"anon": {2: bound}, "service": {2: free}}
    assert not authorizer.read_decision(catalog(access), GUARDED, "anon").rows
    assert authorizer.read_decision(catalog(access), GUARDED, "service").rows
