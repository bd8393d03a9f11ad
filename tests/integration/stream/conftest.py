"""Clusters of both ends of the supported versions, and a table that is streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.fault_cluster import FaultCluster, fault_cluster, installed_majors

TABLE = "create table t (id int primary key, v text); create publication p for table t"


@pytest.fixture(params=installed_majors(), ids=lambda major: f"pg{major}")
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[FaultCluster]:
    """A cluster of the test's own with table `t` in publication `p`."""
    async with fault_cluster(request.param) as cluster:
        db = await cluster.connect()
        await db.execute(TABLE)
        await db.close()
        yield cluster


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database of the common cluster with table `t` in publication `p`."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(TABLE)
    yield connection
    await connection.close()
