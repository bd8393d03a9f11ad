"""The fixtures that other tests stand on."""

from __future__ import annotations

import asyncpg
import pytest

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_empty_database_of_its_own(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("create table only_here (id int)")
        assert await connection.fetchval("show wal_level") == "logical"
    finally:
        await connection.close()


async def test_a_database_with_a_slot_left_on_it_is_still_dropped(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "select pg_create_logical_replication_slot('left_behind', 'pgoutput')"
        )
    finally:
        await connection.close()


async def test_a_migrated_database_has_the_publication(migrated_database_url: str) -> None:
    connection = await asyncpg.connect(migrated_database_url)
    try:
        assert await connection.fetch("select pubname from pg_publication") != []
        assert await connection.fetchval("select auth.uid()") is None
    finally:
        await connection.close()
