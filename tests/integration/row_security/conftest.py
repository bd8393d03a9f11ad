"""A court over an empty database, with one guarded table."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.judging import Court, court_of
from tidewire.adapters.postgres.row_security.authorizer import RowSecurityLimits

TRIPS = """
create table trips (id int primary key, owner uuid, org bigint, title text);
alter table trips enable row level security;
grant select on trips to authenticated, anon;
alter publication supabase_realtime add table trips;
"""


@pytest.fixture
async def court(migrated_database_url: str) -> AsyncIterator[Court]:
    limits = RowSecurityLimits(statement_timeout_s=0.5)
    async with court_of(migrated_database_url, limits=limits) as court:
        await court.connection.execute(TRIPS)
        yield court
