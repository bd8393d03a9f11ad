"""Fixtures that tests of several folders use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.postgres import PostgresCluster


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A running embedded PostgreSQL: one per pytest process, made when the first test asks."""
    cluster = PostgresCluster()
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def database_url(postgres_cluster: PostgresCluster) -> AsyncIterator[str]:
    """Address of an empty database of its own, as superuser; dropped afterwards."""
    name = await postgres_cluster.create_database()
    yield postgres_cluster.url_of(name)
    await postgres_cluster.drop_database(name)


@pytest.fixture
async def migrated_database_url(postgres_cluster: PostgresCluster) -> AsyncIterator[str]:
    """As `database_url`, with all migrations applied and an empty publication."""
    name = await postgres_cluster.create_migrated_database()
    yield postgres_cluster.url_of(name)
    await postgres_cluster.drop_database(name)
