"""Functions that are declared immutable and read claims: PostgreSQL calls them while planning."""

from __future__ import annotations

import pytest

from tests.support.judging import Court
from tidewire.core.row_policy import Tier

pytestmark = pytest.mark.postgres

ANN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
BOB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
FUNCTIONS = """
create function my_id() returns uuid immutable language sql as 'select auth.uid()';
create function asked() returns uuid stable language plpgsql as 'begin return my_id(); end';
create schema private;
create function private.my_id() returns uuid immutable language sql as 'select auth.uid()';
"""


@pytest.mark.parametrize(
    ("condition", "tier"),
    [
        ("owner = my_id()", Tier.LOOP),
        ("my_id() is null or owner = my_id()", Tier.LOOP),
        ("owner = asked()", Tier.LOOP),
        ("owner = private.my_id()", Tier.LOOP),
        ("owner = my_id() and xmin is not null", Tier.BY_KEY),
    ],
)
async def test_each_viewer_is_judged_by_his_own_claims(
    court: Court, condition: str, tier: Tier
) -> None:
    await court.connection.execute(FUNCTIONS)
    await court.connection.execute(
        f"create policy p on trips for select to authenticated using ({condition})"
    )
    images = await court.images(f"insert into trips values (1, '{ANN}'), (2, '{BOB}')")
    ann, bob = {"sub": ANN}, {"sub": BOB}
    for _ in range(2):
        assert await court.judge("trips", images, [ann, bob]) == [[True, False], [False, True]]
        assert await court.judge("trips", images, [bob, ann]) == [[False, True], [True, False]]
    policy = await court.policy("trips")
    assert policy is not None
    assert (policy.tier, policy.plans_anew) == (tier, True)


async def test_claim_functions_that_were_declared_immutable_are_no_exception(court: Court) -> None:
    condition = "owner = auth.uid() and current_user = 'authenticated'"
    await court.connection.execute(
        f"""create policy p on trips for select to authenticated using ({condition});
            alter function auth.uid() immutable"""
    )
    images = await court.images(f"insert into trips values (1, '{ANN}'), (2, '{BOB}')")
    told = await court.judge("trips", images, [{"sub": ANN}, {"sub": BOB}])
    assert told == [[True, False], [False, True]]


async def test_policies_that_call_nothing_of_the_kind_keep_their_plans(court: Court) -> None:
    await court.connection.execute(FUNCTIONS)
    await court.connection.execute(
        """create policy p on trips for select to authenticated
           using (owner = auth.uid() and current_user = 'authenticated')"""
    )
    policy = await court.policy("trips")
    assert policy is not None
    assert not policy.plans_anew
