"""A policy is kept parsed: what it names may be called otherwise since, and it means the same."""

from __future__ import annotations

import pytest

from tests.support.judging import Court

pytestmark = pytest.mark.postgres

ANN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
BOB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
VIEWERS = [{"sub": ANN}, {"sub": BOB}]
ANN_ALONE = [[True, False]]


@pytest.mark.parametrize("place", ["members", "members_seen"])
async def test_renamed_columns_of_what_a_policy_asks_are_the_same_columns(
    court: Court, place: str
) -> None:
    await court.connection.execute(
        f"""create table members (member uuid, asked uuid, trip int);
            create view members_seen as select * from members;
            grant select on members, members_seen to authenticated;
            insert into members values ('{ANN}', '{BOB}', 1);
            create policy p on trips for select to authenticated using (
              exists (select from {place} m where m.member = auth.uid() and m.trip = trips.id))"""
    )
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, VIEWERS) == ANN_ALONE
    await court.connection.execute(f"alter table {place} rename column member to who")
    assert await court.judge("trips", images, VIEWERS) == ANN_ALONE
    await court.connection.execute(f"alter table {place} rename column asked to member")
    await court.connection.execute(f"alter table {place} rename column who to asked")
    assert await court.judge("trips", images, VIEWERS) == ANN_ALONE


async def test_a_renamed_table_is_the_same_table(court: Court) -> None:
    await court.connection.execute(
        f"""create table members (member uuid, trip int);
            create table others (member uuid, trip int);
            grant select on members, others to authenticated;
            insert into members values ('{ANN}', 1); insert into others values ('{BOB}', 1);
            create policy p on trips for select to authenticated using (
              exists (select from members m where m.member = auth.uid() and m.trip = trips.id))"""
    )
    images = await court.images("insert into trips values (1)")
    assert await court.judge("trips", images, VIEWERS) == ANN_ALONE
    await court.connection.execute(
        "alter table members rename to former; alter table others rename to members"
    )
    assert await court.judge("trips", images, VIEWERS) == ANN_ALONE
