from __future__ import annotations

import pytest

from tidewire.core.catalog import TableColumn
from tidewire.core.policy_tiers import PolicyFacts, PolicyPlan, plan_policy
from tidewire.core.row_policy import Tier

COLUMNS = {
    name: TableColumn(name, oid)
    for name, oid in (("id", 23), ("owner", 2950), ("org", 20), ("status", 25), ("tags", 1009))
}


def plan(expression: str | None, *, standard: bool = True) -> PolicyPlan:
    facts = PolicyFacts("trips", COLUMNS, frozenset({"total"}), standard)
    return plan_policy(expression, facts)


@pytest.mark.parametrize(
    ("expression", "tier", "claims"),
    [
        (None, Tier.HIDDEN, frozenset()),
        ("(owner = auth.uid())", Tier.LOCAL, {"sub"}),
        ("((owner = auth.uid()) OR (status = 'open'::text))", Tier.SETS, {"sub"}),
        ("((org)::text = ANY (ARRAY[auth.role(), 'x'::text]))", Tier.SETS, {"role"}),
        ("true", Tier.SETS, frozenset()),
        ("((auth.jwt() -> 'app'::text) ->> 'team'::text) IS NOT NULL", Tier.SETS, {"app"}),
        ("(auth.jwt() ? 'org'::text)", Tier.SETS, None),
        ("(( SELECT auth.jwt() AS jwt) ->> 'a'::text) = status", Tier.LOCAL, {"a"}),
        ("(COALESCE('{}'::jsonb, auth.jwt()) ->> 'a'::text) = status", Tier.SETS, None),
        ("(status IS DISTINCT FROM auth.role())", Tier.SETS, {"role"}),
        ("(EXISTS ( SELECT FROM app.m))", Tier.LOOP, None),
        ("(org IN ( SELECT m.org FROM m))", Tier.LOOP, None),
        ("(status = ANY ( SELECT auth.role() AS role))", Tier.LOOP, None),
        ("public.is_member(org)", Tier.LOOP, None),
        ("(current_setting('request.jwt.claims'::text, true) IS NULL)", Tier.LOOP, None),
        ("(CURRENT_USER = 'x'::name)", Tier.LOOP, None),
        ("(status = 'auth.uid()'::text)", Tier.SETS, frozenset()),
        ("(status OPERATOR(public.=) 'a'::text)", Tier.LOOP, None),
        ("(status COLLATE \"C\" = 'a'::text)", Tier.LOOP, None),
        ("(status = 'a'::public.mood)", Tier.LOOP, None),
        ("(xmin IS NOT NULL)", Tier.BY_KEY, None),
        ("(total > 5)", Tier.BY_KEY, None),
        ("public.sees(trips.*)", Tier.BY_KEY, None),
        ("(EXISTS ( SELECT FROM m WHERE (m.total = trips.org)))", Tier.LOOP, None),
        ("(EXISTS ( SELECT FROM m WHERE (m.org = trips.total)))", Tier.BY_KEY, None),
    ],
)
def test_the_cheapest_tier_that_is_right_is_chosen(
    expression: str | None, tier: Tier, claims: frozenset[str] | None
) -> None:
    found = plan(expression)
    assert (found.tier, found.claims) == (tier, claims)


def test_claim_functions_of_somebodys_own_are_called_and_not_replaced() -> None:
    assert plan("(owner = auth.uid())", standard=False).tier is Tier.LOOP


def test_a_sub_select_of_one_value_becomes_the_value() -> None:
    found = plan("((( SELECT auth.uid() AS uid) = owner) OR false)")
    assert found.sets == '( ( ( "~viewer"."~uid" ) = owner ) OR false )'


def test_only_what_is_read_is_handed_over() -> None:
    found = plan("(EXISTS ( SELECT FROM m WHERE ((m.status = 'a'::text) AND (m.x = trips.org))))")
    assert found.columns >= {"org"}
    assert "tags" not in found.columns
    assert found.qualifiers == {"m", "trips"}


def test_volatile_claims_that_are_named_are_told() -> None:
    assert plan("((auth.jwt() ->> 'exp'::text) = public.f())").words == {"exp"}


def test_an_expression_that_cannot_be_read_is_judged_by_the_loop_with_all_columns() -> None:
    found = plan("a -- b")
    assert (found.tier, found.columns) == (Tier.LOOP, set(COLUMNS))
