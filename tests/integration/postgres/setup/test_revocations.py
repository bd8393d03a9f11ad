"""Revocations in a real database: kept, found, pruned, with ordinary rights too."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from tests.support.postgres import PASSWORD
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.revocations import PostgresRevocations
from tidewire.core.errors import DatabaseUnavailableError, SetupError

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]
AGE_S = 1000.0


@pytest.fixture
async def url(any_database_url: str) -> str:
    await migrate(any_database_url)
    return any_database_url


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresRevocations]:
    made = PostgresRevocations(url, token_age_s_max=AGE_S)
    yield made
    await made.close()


async def test_what_is_revoked_is_found_again(store: PostgresRevocations) -> None:
    now_s = time.time()
    session = await store.revoke(session_id="s1")
    user = await store.revoke(user_id="u1", issued_before_s=now_s - 5)
    everybody = await store.revoke(issued_before_s=now_s - 9)
    dated = await store.revoke(session_id="s2", expires_at_s=now_s + 50)
    banned = await store.revoke(user_id="u2", issued_before_s=1e11)
    assert list(await store.load()) == [session, user, everybody, dated, banned]
    assert list(await store.find([user.id, 4711])) == [user]
    assert (session.session_id, session.issued_before_s) == ("s1", math.inf)
    assert session.kept_until_s == pytest.approx(now_s + AGE_S, abs=5)
    assert (user.user_id, user.issued_before_s) == ("u1", pytest.approx(now_s - 5, abs=0.001))
    assert user.kept_until_s == pytest.approx(now_s + AGE_S, abs=5)
    assert everybody.kept_until_s == math.inf
    assert dated.kept_until_s == pytest.approx(now_s + 50, abs=0.001)
    assert banned.kept_until_s == pytest.approx(1e11 + AGE_S)


async def test_only_what_no_living_token_needs_is_pruned(
    store: PostgresRevocations, url: str, connecting: Connecting
) -> None:
    now_s = time.time()
    await store.revoke(session_id="over", expires_at_s=now_s - 1)
    kept = await store.revoke(session_id="kept")
    await store.revoke(issued_before_s=now_s - 90)
    last = await store.revoke(issued_before_s=now_s - 80)
    old = await store.revoke(user_id="old", issued_before_s=now_s - 2 * AGE_S)
    async with connecting(url) as connection:
        await connection.execute(
            "update realtime.revocations set revoked_at = now() - interval '2000 s' where id = $1",
            old.id,
        )
    assert await store.prune() == 3
    assert list(await store.load()) == [kept, last]
    assert await store.prune() == 0


async def test_the_functions_write_what_they_say(
    store: PostgresRevocations, url: str, connecting: Connecting
) -> None:
    async with connecting(url) as connection:
        await connection.execute("set role service_role")
        await connection.execute(
            "select realtime.revoke_session('s1');"
            "select realtime.revoke_user('u1');"
            "select realtime.revoke_user('6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001'::uuid);"
            "select realtime.revoke_issued_before('2026-01-01 00:00+00');"
            "select realtime.revoke_issued_before('2026-01-01 00:00+00', 'u2',"
            " expires_at => 'infinity')"
        )
    session, by_text, by_uuid, everybody, user = await store.load()
    assert session.session_id == "s1"
    assert (by_text.user_id, by_uuid.user_id) == ("u1", "6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001")
    assert by_text.issued_before_s == pytest.approx(time.time(), abs=10)
    assert (everybody.session_id, everybody.user_id) == (None, None)
    assert everybody.issued_before_s == user.issued_before_s == 1767225600
    assert (user.user_id, user.kept_until_s) == ("u2", math.inf)


@pytest.mark.parametrize(
    "call",
    [
        "revoke_session('')",
        "revoke_session(null)",
        "revoke_user('')",
        "revoke_user(null::text)",
        "revoke_issued_before(null)",
        "revoke_issued_before('infinity')",
    ],
)
async def test_a_call_that_means_nothing_is_refused(
    url: str, connecting: Connecting, call: str
) -> None:
    async with connecting(url) as connection:
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(f"select realtime.{call}")
        assert await connection.fetchval("select count(*) from realtime.revocations") == 0


async def test_a_revocation_that_is_rolled_back_never_was(
    store: PostgresRevocations, url: str, connecting: Connecting
) -> None:
    async with connecting(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select realtime.revoke_session('s1')")
        await transaction.rollback()
    assert list(await store.load()) == []


async def test_a_database_without_the_table_says_so(any_database_url: str) -> None:
    store = PostgresRevocations(any_database_url, token_age_s_max=AGE_S)
    for call in (store.load(), store.find([1]), store.prune(), store.revoke(session_id="s")):
        with pytest.raises(SetupError, match=r"realtime\.revocations cannot be used"):
            await call
    await store.close()


async def test_a_database_that_is_away_is_told() -> None:
    store = PostgresRevocations("postgresql://x@127.0.0.1:9/x", token_age_s_max=AGE_S)
    with pytest.raises(DatabaseUnavailableError):
        await store.load()


async def test_it_works_for_an_owner_without_superuser_rights(
    narrow_server: EmbeddedPostgres, connecting: Connecting
) -> None:
    async with connecting(narrow_server.url) as admin:
        await admin.execute(f"create role revoker login createrole password '{PASSWORD}'")
        await admin.execute("create database revoking owner revoker")
        url = narrow_server.url.replace("//postgres:", "//revoker:")
        url = url.replace("/postgres", "/revoking")
        await migrate(url)
        store = PostgresRevocations(url, token_age_s_max=AGE_S)
        made = await store.revoke(session_id="s1")
        assert list(await store.load()) == [made]
        assert await store.prune() == 0
        await store.close()
        await admin.execute("drop database revoking with (force)")
        await admin.execute("drop role anon, authenticated, service_role, revoker")
