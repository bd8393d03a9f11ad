"""The login that judges rows."""

from __future__ import annotations

import logging

import asyncpg
import pytest

from tidewire.adapters.postgres.checker import (
    CHECKER,
    CheckerLogin,
    checker_url,
    look_at_checker,
)

pytestmark = pytest.mark.postgres


async def test_the_login_is_let_in_and_a_changed_password_is_set_anew(
    migrated_database_url: str,
) -> None:
    for password in ("one", "two p@ss/word", "one"):
        own = await checker_url(migrated_database_url, password=password)
        assert own is not None
        connection = await asyncpg.connect(own)
        assert await connection.fetchval("select session_user") == CHECKER
        assert await connection.fetchval("select current_database()") in own
        await connection.close()


async def test_it_may_take_the_roles_of_tokens_and_see_nothing_by_itself(
    migrated_database_url: str,
) -> None:
    owner = await asyncpg.connect(migrated_database_url)
    await owner.execute("create table t (id int); grant select on t to authenticated")
    own = await checker_url(migrated_database_url, password="x")
    assert own is not None
    connection = await asyncpg.connect(own)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("select from t")
    for role in ("anon", "authenticated", "service_role"):
        await connection.execute(f"set role {role}")
    await connection.execute("set role authenticated")
    assert await connection.fetch("select from t") == []
    await connection.close()
    await owner.close()


async def test_without_the_login_the_servers_own_user_judges_and_that_is_said(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        f"do $$ begin if to_regrole('{CHECKER}') is null then create role {CHECKER}; end if; end $$"
    )
    await owner.execute(f"alter role {CHECKER} nologin")
    try:
        login = CheckerLogin(database_url, password="x")
        with caplog.at_level(logging.WARNING):
            assert [await login.url() for _ in range(2)] == [database_url] * 2
        assert caplog.text.count("rows are judged by the user of") == 1
        findings = await look_at_checker(database_url)
        assert [finding.code for finding in findings] == ["checker"]
    finally:
        await owner.execute(f"alter role {CHECKER} login noinherit")
        await owner.close()
    assert await look_at_checker(database_url) == []


async def test_a_given_login_is_taken_as_it_is_and_looked_at(migrated_database_url: str) -> None:
    given = CheckerLogin("postgresql://nowhere.invalid/x", password="", given="postgresql://given")
    assert await given.url() == "postgresql://given"
    findings = await look_at_checker(migrated_database_url, given=migrated_database_url)
    assert ["postgres" in finding.problem for finding in findings] == [True]
