from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.tenants import PaperTenant
from tidewire.core.errors import DatabaseUnavailableError, SetupError
from tidewire.server import tenant_runner
from tidewire.server.logging_setup import tenant_in_logs
from tidewire.server.tenant import DEFAULT_TENANT

DEADLINE_S = 5.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_runner, "PAUSE_FIRST_S", 0.001)
    monkeypatch.setattr(tenant_runner, "PAUSE_MAX_S", 0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what it waits for sets no Event
            await asyncio.sleep(0)


@asynccontextmanager
async def running(tenant: PaperTenant) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(tenant.runner.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def test_a_database_that_does_not_answer_is_tried_until_it_does() -> None:
    tenant = PaperTenant("acme")
    tenant.trouble = DatabaseUnavailableError("nothing listens there\nand advice")
    await tenant.runner.prepare()
    assert tenant.runner.tenant is None
    assert tenant.runner.trouble == "nothing listens there"
    async with running(tenant):
        await until(lambda: tenant.prepared > 3)
        assert tenant.built == []
        tenant.trouble = None
        await until(lambda: tenant.runner.tenant is not None)
        assert tenant.runner.readiness().ready
        assert tenant.runner.trouble == ""


async def test_a_mistake_ends_the_start_and_names_the_tenant() -> None:
    tenant = PaperTenant("acme")
    tenant.trouble = SetupError("wal_level is replica", "Set it.")
    with pytest.raises(SetupError, match="tenant acme: wal_level is replica") as caught:
        await tenant.runner.prepare()
    assert caught.value.advice == "Set it."


async def test_a_mistake_that_comes_up_later_is_tried_again_too() -> None:
    tenant = PaperTenant("acme")
    tenant.trouble = DatabaseUnavailableError("down")
    await tenant.runner.prepare()
    async with running(tenant):
        tenant.trouble = SetupError("wal_level is replica")
        await until(lambda: tenant.runner.trouble == "wal_level is replica")
        tenant.trouble = None
        await until(lambda: tenant.runner.tenant is not None)


async def test_the_only_tenants_failures_end_the_server() -> None:
    tenant = PaperTenant(DEFAULT_TENANT, is_alone=True)
    tenant.trouble = DatabaseUnavailableError("down")
    with pytest.raises(DatabaseUnavailableError):
        await tenant.runner.prepare()
    tenant.trouble = None
    await tenant.runner.prepare()
    async with running(tenant) as task:
        await asyncio.sleep(0)
        tenant.crash.set_exception(RuntimeError("a mistake of ours"))
        await until(task.done)
        assert isinstance(task.exception(), ExceptionGroup)


async def test_one_of_several_that_crashes_is_made_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tenant = PaperTenant("acme")
    await tenant.runner.prepare()
    async with running(tenant) as task:
        await until(lambda: tenant.runner.tenant is not None)
        first = tenant.node
        await asyncio.sleep(0)
        tenant.crash.set_exception(RuntimeError("a mistake of ours"))
        await until(lambda: len(tenant.built) == 2)
        assert not task.done()
        assert first.was_cut_off
        assert tenant.closed == 1
    assert "a tenant failed" in caplog.text


async def test_a_part_that_ends_by_itself_is_a_failure() -> None:
    tenant = PaperTenant("acme")
    await tenant.runner.prepare()
    async with running(tenant):
        await asyncio.sleep(0)
        tenant.crash.set_result(None)
        await until(lambda: len(tenant.built) == 2)


async def test_a_reload_drains_and_makes_every_part_anew() -> None:
    tenant = PaperTenant("acme")
    await tenant.runner.prepare()
    async with running(tenant):
        await asyncio.sleep(0)
        first = tenant.node
        tenant.runner.reload()
        await until(lambda: len(tenant.built) == 2)
        assert first.drained == 1
        assert tenant.closed == 1
        assert tenant.prepared == 2


async def test_the_end_closes_what_is_open() -> None:
    tenant = PaperTenant("acme")
    await tenant.runner.prepare()
    async with running(tenant):
        await asyncio.sleep(0)
    assert tenant.closed == 1
    assert tenant.runner.tenant is None


async def test_a_suspended_tenant_waits_for_its_end() -> None:
    tenant = PaperTenant("acme", suspended=True)
    async with running(tenant) as task:
        await asyncio.sleep(0)
        assert not task.done()
        assert tenant.prepared == 0


async def test_what_is_logged_for_a_tenant_names_it() -> None:
    tenant = PaperTenant("acme")
    await tenant.runner.prepare()
    async with running(tenant):
        await until(lambda: len(tenant.logged_as) == 2)
    assert tenant.logged_as == ["acme", "acme"]
    assert tenant_in_logs.get() == ""


async def test_the_only_tenant_needs_no_name_in_the_log() -> None:
    tenant = PaperTenant(DEFAULT_TENANT, is_alone=True)
    await tenant.runner.prepare()
    assert tenant.logged_as == [""]
