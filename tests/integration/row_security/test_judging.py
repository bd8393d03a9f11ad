"""Each edge of judging rows on their image, one by one."""

from __future__ import annotations

import logging
from typing import Any

import asyncpg
import pytest

from tests.support.judging import Court, question_of
from tidewire.adapters.postgres.row_security.circuit import FAILURES_MAX
from tidewire.core.change import ReplicaIdentity
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.row_policy import Tier

pytestmark = pytest.mark.postgres

ANN, BEN = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
OWN = "owner = auth.uid()"
BY_LOOP = "owner = auth.uid() and current_user = 'authenticated'"


def user(sub: Any = ANN, **more: Any) -> dict[str, Any]:
    return {"sub": sub, "role": "authenticated", **more}


async def allow(court: Court, condition: str, name: str = "p") -> None:
    await court.connection.execute(
        f"drop policy if exists {name} on trips;"
        f"create policy {name} on trips for select using ({condition})"
    )


async def test_tiers_are_taken_as_planned_and_counted(court: Court) -> None:
    images = await court.images(f"insert into trips values (1, '{ANN}', 1), (2, '{BEN}', 2)")
    stats = court.authorizer.stats
    for condition, tier, counter in (
        (OWN, Tier.LOCAL, "local_total"),
        (f"{OWN} and org < 9", Tier.SETS, "sets_total"),
        (BY_LOOP, Tier.LOOP, "loop_total"),
        (f"{OWN} and xmin is not null", Tier.BY_KEY, "by_key_total"),
    ):
        await allow(court, condition)
        policy = await court.policy("trips")
        assert policy is not None
        assert policy.tier is tier, condition
        before, queries = getattr(stats, counter), stats.queries_total
        told = await court.judge("trips", images, [user(ANN), user(BEN)])
        assert told == [[True, False], [False, True]], condition
        assert getattr(stats, counter) == before + 4
        asked = {Tier.LOCAL: 0, Tier.SETS: 1}.get(tier, 2)
        assert stats.queries_total == queries + asked
    await court.connection.execute("drop policy p on trips")
    policy = await court.policy("trips")
    assert policy is not None
    assert policy.tier is Tier.HIDDEN
    assert await court.judge("trips", images, [user()]) == [[False], [False]]


@pytest.mark.parametrize("condition", [OWN, f"{OWN} or org = 99", BY_LOOP])
async def test_the_image_decides_and_not_the_present_row(court: Court, condition: str) -> None:
    await court.connection.execute("alter table trips replica identity full")
    await allow(court, condition)
    first = await court.images(f"insert into trips values (1, '{ANN}')")
    second = await court.images(f"update trips set owner = '{BEN}'")
    third = await court.images("delete from trips")
    viewers = [user(ANN), user(BEN)]
    assert await court.judge("trips", first, viewers) == [[True, False]]
    assert await court.judge("trips", second, viewers) == [[False, True]]
    assert await court.judge("trips", second, viewers, old=True) == [[True, False]]
    assert await court.judge("trips", third, viewers) == [[False, True]]


@pytest.mark.parametrize("more", ["", " or title = auth.role()", " and now() is not null"])
async def test_a_bad_claim_fails_its_own_viewer_only(court: Court, more: str) -> None:
    await allow(court, f"org = (auth.jwt() ->> 'org')::bigint{more}")
    images = await court.images("insert into trips values (1, null, 5), (2, null, null)")
    viewers = [user(org=5), user(org="abc"), user(org=" 5"), user(org="6"), user()]
    assert await court.judge("trips", images, viewers) == [
        [True, None, True, False, False],
        [False, None, False, False, False],
    ]


async def test_a_row_that_raises_fails_for_itself_and_keeps_nobody_out(court: Court) -> None:
    await allow(court, f"10 / id::numeric > 0 and {BY_LOOP}")
    images = await court.images(f"insert into trips values (0, '{ANN}'), (1, '{ANN}')")
    for _ in range(FAILURES_MAX + 1):
        assert await court.judge("trips", images, [user(), user(BEN)]) == [
            [None, None],
            [True, False],
        ]
    assert court.authorizer.stats.held_total == 0


async def test_a_viewer_whose_policy_keeps_raising_is_kept_out_and_told(court: Court) -> None:
    await allow(court, "org = (auth.jwt() ->> 'org')::bigint and current_user is not null")
    images = await court.images("insert into trips values (1, null, 5)")
    viewers = [user(org=5), user(org="abc")]
    for _ in range(FAILURES_MAX + 1):
        assert await court.judge("trips", images, viewers) == [[True, None]]
    assert court.authorizer.stats.held_total == 1
    assert await court.judge("trips", images, [user(org=5), user(org="5")]) == [[True, True]]


async def test_code_that_takes_the_role_back_gains_nothing(court: Court) -> None:
    await court.connection.execute(
        """create table secrets (word text); insert into secrets values ('x');
           create function public.peek() returns boolean language plpgsql as
           $$ begin reset role; return exists (select from secrets); end $$"""
    )
    await allow(court, "public.peek()", "a_peeking")
    await allow(court, BY_LOOP, "b_own")
    images = await court.images(f"insert into trips values (1, '{ANN}')")
    told = await court.judge("trips", images, [user(ANN), user(BEN)])
    assert told == [[True, None]]
    login = await court.connection.fetchrow(
        "select rolsuper, rolbypassrls, rolinherit from pg_roles where rolname = 'tidewire_check'"
    )
    assert login is not None
    assert tuple(login) == (False, False, False)


async def test_a_role_that_a_policy_sheds_is_taken_again_for_the_next_viewer(court: Court) -> None:
    await court.connection.execute(
        """create function public.shed() returns boolean language plpgsql as
           $$ begin perform set_config('role', 'none', true); return true; end $$"""
    )
    await allow(court, "current_user = 'authenticated' and public.shed()")
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, [user(ANN), user(BEN)]) == [[True, True]]


async def test_settings_that_a_policy_changes_do_not_reach_the_next_viewer(court: Court) -> None:
    await court.connection.execute(
        """create function public.meddle() returns boolean language plpgsql as
           $$ begin
             perform set_config('request.jwt.claims', '{}', false),
                     set_config('search_path', 'nowhere', false);
             return true;
           end $$"""
    )
    await allow(court, f"public.meddle() and {BY_LOOP}")
    images = await court.images(f"insert into trips values (1, '{ANN}'), (2, '{BEN}')")
    for _ in range(2):
        told = await court.judge("trips", images, [user(ANN), user(BEN)])
        assert all(None not in row for row in told)
        assert not told[0][1]
        assert not told[1][0]


async def test_a_policy_may_call_what_its_role_could_not_name(court: Court) -> None:
    await court.connection.execute(
        """create schema private; create table private.m (org bigint, member uuid);
           create function private.sees(wanted bigint) returns boolean
             language sql stable security definer set search_path = '' as
             'select exists (select from private.m where org = wanted and member = auth.uid())'"""
    )
    await court.connection.execute(f"insert into private.m values (1, '{ANN}')")
    await allow(court, "private.sees(org)")
    images = await court.images("insert into trips values (1, null, 1), (2, null, 2)")
    viewers = [user(ANN), user(BEN)]
    assert await court.judge("trips", images, viewers) == [[True, False], [False, False]]
    # Nothing of ours stands in the way of the schema's owner.
    await court.connection.execute(
        "drop policy p on trips; drop function private.sees; drop schema private cascade"
    )


async def test_what_is_asked_in_sub_selects_is_the_present(court: Court) -> None:
    await court.connection.execute(
        "create table m (org bigint, member uuid); grant select on m to authenticated"
    )
    await allow(court, "exists (select from m where m.org = trips.org and member = auth.uid())")
    images = await court.images("insert into trips values (1, null, 1)")
    assert await court.judge("trips", images, [user()]) == [[False]]
    await court.connection.execute(f"insert into m values (1, '{ANN}')")
    assert await court.judge("trips", images, [user()]) == [[True]]


async def test_a_policy_is_the_same_object_as_long_as_it_says_the_same(court: Court) -> None:
    await allow(court, OWN)
    first = await court.policy("trips")
    await court.connection.execute("create table other (id int)")
    await court.connection.execute("create role tidewire_test_other")
    assert await court.policy("trips") is first
    await allow(court, BY_LOOP)
    second = await court.policy("trips")
    assert second is not first
    assert await court.policy("trips", "anon") is not second
    await court.connection.execute("drop role tidewire_test_other")


async def test_replaced_claim_functions_are_called_as_they_are(court: Court) -> None:
    await allow(court, OWN)
    images = await court.images(f"insert into trips values (1, '{BEN}')")
    assert await court.judge("trips", images, [user(ANN)]) == [[False]]
    await court.connection.execute(
        f"create or replace function auth.uid() returns uuid language sql stable "
        f"as $$ select '{BEN}'::uuid $$"
    )
    policy = await court.policy("trips")
    assert policy is not None
    assert policy.tier is Tier.LOOP
    assert await court.judge("trips", images, [user(ANN)]) == [[True]]


async def test_volatile_claims_are_left_out_of_keys_unless_something_names_them(
    court: Court,
) -> None:
    await allow(court, BY_LOOP)
    policy = await court.policy("trips")
    assert policy is not None
    assert policy.viewer_key(user(exp=1)) == policy.viewer_key(user(exp=2))
    await court.connection.execute(
        """create function public.late() returns boolean language sql stable
           as $$ select (auth.jwt() ->> 'exp')::int > 100 $$"""
    )
    await allow(court, "public.late()")
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, [user(exp=50), user(exp=500)]) == [[False, True]]


async def test_an_unchanged_large_value_stands_in_the_old_row_or_is_looked_up(
    court: Court,
) -> None:
    await allow(court, f"length(title) > 3000 and {BY_LOOP}")
    large = "(select string_agg(md5(i::text), '') from generate_series(1, 200) i)"
    await court.images(f"insert into trips values (1, '{ANN}', 1, {large})")
    changed = await court.images("update trips set org = 2")
    assert await court.judge("trips", changed, [user(ANN), user(BEN)]) == [[True, False]]
    assert court.authorizer.stats.by_key_total == 2
    await court.connection.execute("alter table trips replica identity full")
    changed = await court.images("update trips set org = 3")
    assert changed[0][1].relation.identity is ReplicaIdentity.FULL
    assert await court.judge("trips", changed, [user(ANN), user(BEN)]) == [[True, False]]
    assert court.authorizer.stats.by_key_total == 2


async def test_rows_of_a_former_shape_are_judged_right_or_not_at_all(court: Court) -> None:
    await court.connection.execute("alter table trips replica identity full")
    await allow(court, OWN)
    images = await court.images(
        f"insert into trips values (1, '{ANN}'), (2, '{ANN}'); delete from trips where id = 2"
    )
    viewers = [user(ANN), user(BEN)]
    await court.connection.execute("alter table trips add column more text default 'x'")
    seen = [[True, False]] * 3
    assert await court.judge("trips", images, viewers) == seen
    await court.connection.execute("alter table trips drop column title")
    told = await court.judge("trips", images, viewers)
    assert court.authorizer.stats.by_key_total == 6
    assert told == [[True, False], [False, False], [False, False]]
    await court.connection.execute(f"update trips set owner = '{BEN}'")
    await court.connection.execute(
        "alter table trips rename owner to former; alter table trips rename org to owner_org"
    )
    assert (await court.judge("trips", images, viewers))[0] == [False, True]


async def test_swapped_names_never_open_a_row(court: Court) -> None:
    await court.connection.execute("alter table trips add column editor uuid")
    await allow(court, OWN)
    images = await court.images(
        f"insert into trips (id, owner, editor) values (1, '{ANN}', '{BEN}')"
    )
    await court.connection.execute(
        """alter table trips rename owner to x; alter table trips rename editor to owner;
           alter table trips rename x to editor"""
    )
    # The policy follows the column, which holds Ann.
    assert await court.judge("trips", images, [user(ANN), user(BEN)]) == [[True, False]]


async def test_a_row_is_looked_up_only_once_its_transaction_is_visible(court: Court) -> None:
    await allow(court, f"xmin is not null and {OWN}")
    ((xid, image),) = await court.images(f"insert into trips values (1, '{ANN}')")
    assert await court.judge("trips", [(xid, image)], [user()]) == [[True]]
    other = await asyncpg.connect(court.url)
    async with other.transaction():
        running = await other.fetchval("select pg_current_xact_id()::text::bigint")
        assert await court.judge("trips", [(running, image)], [user()]) == [[None]]
    assert await court.judge("trips", [(running, image)], [user()]) == [[True]]
    assert await court.judge("trips", [(0, image)], [user()]) == [[None]]
    await other.close()


async def test_a_policy_that_takes_too_long_fails_and_is_not_waited_for_again(
    court: Court,
) -> None:
    await allow(court, "pg_sleep(5) is not null")
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, [user()]) == [[None]]
    held = court.authorizer.stats.held_total
    assert await court.judge("trips", images, [user()]) == [[None]]
    assert court.authorizer.stats.held_total == held + 1


async def test_a_role_is_given_to_the_login_when_it_lacks_it(
    court: Court, caplog: pytest.LogCaptureFixture
) -> None:
    await court.connection.execute(
        """create role tidewire_test_editor;
           grant usage on schema public, auth to tidewire_test_editor;
           grant select on trips to tidewire_test_editor"""
    )
    try:
        await allow(court, "true and current_user = 'tidewire_test_editor'")
        images = await court.images("insert into trips values (1)")
        told = await court.judge("trips", images, [user()], role="tidewire_test_editor")
        assert told == [[True]]
        await court.connection.execute("revoke tidewire_test_editor from tidewire_check")
        court.authorizer._sessions[0]._roles.clear()
        court.authorizer._sessions[1]._roles.clear()
        for session in court.authorizer._sessions:
            session._grants = None
        with caplog.at_level(logging.ERROR):
            told = await court.judge("trips", images, [user()], role="tidewire_test_editor")
        assert told == [[None]]
        assert "a right is missing, so its rows are withheld" in caplog.text
    finally:
        await court.connection.execute(
            "drop owned by tidewire_test_editor; drop role tidewire_test_editor"
        )


async def test_columns_without_select_are_no_part_of_the_decision(court: Court) -> None:
    await court.connection.execute(
        "revoke select on trips from anon; grant select (id, org) on trips to anon"
    )
    await allow(court, "owner is null or auth.role() is null")
    catalog = await court.catalogs.refresh("anon")
    decision = court.authorizer.read_decision(catalog, court.table(catalog, "trips"), "anon")
    assert decision.columns == {"id", "org"}
    assert not decision.has_whole_table
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, [{"role": "anon"}], role="anon") == [[True]]


async def test_without_a_database_nothing_is_judged(court: Court) -> None:
    await allow(court, BY_LOOP)
    images = await court.images("insert into trips values (1)")
    policy = await court.policy("trips")
    assert policy is not None
    question = question_of(
        court.table(court.catalogs.current, "trips"),
        policy,
        images[0][1],
        images[0][0],
        frozenset({policy.viewer_key(user())}),
    )
    for session in court.authorizer._sessions:
        session._session._dsn = "postgresql://nobody@127.0.0.1:1/nothing"
    with pytest.raises(DatabaseUnavailableError):
        await court.authorizer.judge([question])


async def test_many_viewers_and_rows_are_judged_in_one_call(court: Court) -> None:
    await allow(court, f"{OWN} and org > 0")
    rows = ", ".join(f"({n}, '00000000-0000-4000-8000-{n % 50:012d}', 1)" for n in range(100))
    images = await court.images(f"insert into trips values {rows}")
    viewers = [user(f"00000000-0000-4000-8000-{n:012d}") for n in range(200)]
    before = court.authorizer.stats.queries_total
    told = await court.judge("trips", images, viewers)
    assert court.authorizer.stats.queries_total == before + 1
    assert all(row == [number % 50 == n for n in range(200)] for number, row in enumerate(told))
