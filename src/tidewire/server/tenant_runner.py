"""The life of one tenant within a server: prepared, run, made anew.

A server of one tenant lives and dies with it: what fails ends the process, with a message. Of
several, each is alone with its troubles: a database that does not answer is tried again and
again, and parts that crash are made anew, while the other tenants serve on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager

from tidewire.adapters.postgres.backoff import backoff_s
from tidewire.core.errors import RealtimeError, SetupError, UnavailableError
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.server.logging_setup import tenant_in_logs
from tidewire.server.settings import origin_policy
from tidewire.server.tenant import Tenant, TenantPlan

_logger = logging.getLogger(__name__)

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
STEADY_S = 60.0
"""A tenant that served this long has recovered: the next failure is a first one."""

CLOSE_DEADLINE_S = 2.0
"""For what a tenant holds open, each."""


class TenantRunner:
    """One tenant of a server.

    Call `prepare`, then keep `run` running; `tenant` is there as long as it can serve.

    Attributes:
        plan: What the tenant is made from.
        origins: From which pages it may be called.
        tenant: Its parts; None while its database was not yet ready for it.
    """

    def __init__(
        self,
        plan: TenantPlan,
        *,
        prepare: Callable[[], Awaitable[None]],
        build: Callable[[], Tenant],
        is_alone: bool,
        rng: random.Random,
    ) -> None:
        """Nothing happens yet.

        Args:
            plan: What the tenant is made from.
            prepare: Brings its database to what the tenant needs; may be repeated.
            build: Makes its parts.
            is_alone: Whether the server has no other tenant.
            rng: Spreads repeated tries.
        """
        self.plan = plan
        self.origins = origin_policy(plan.settings)
        self.tenant: Tenant | None = None
        self._prepare = prepare
        self._build = build
        self._is_alone = is_alone
        self._rng = rng
        self._failures = 0
        self._reload = asyncio.Event()
        self._trouble = ""

    @property
    def name(self) -> str:
        """Unique within the server."""
        return self.plan.name

    @property
    def is_suspended(self) -> bool:
        """Whether it is shut by its settings."""
        return self.plan.settings.tenant.suspended

    @property
    def trouble(self) -> str:
        """Why it does not serve; "" when it does."""
        return self._trouble

    async def prepare(self) -> None:
        """Prepare the database once, and make the parts.

        One of several tenants whose database does not answer is left for `run` to try again.

        Raises:
            SetupError: A person must mend something first.
            DatabaseUnavailableError: The only tenant's database does not answer.
        """
        if self.is_suspended:
            return
        try:
            with self._told_in_logs():
                await self._prepare()
                self.tenant = await self._make()
        except UnavailableError as error:
            if self._is_alone:
                raise
            self._note_trouble(error)
            return
        except SetupError as error:
            if self._is_alone:
                raise
            raise SetupError(f"tenant {self.name}: {error.problem}", error.advice) from error

    async def run(self) -> None:
        """Serve until cancelled; a suspended tenant touches nothing."""
        if self.is_suspended:
            await asyncio.Event().wait()
        with self._told_in_logs():
            await self._run()

    async def _run(self) -> None:
        while True:
            try:
                if self.tenant is None:
                    await self._prepare_patiently()
                assert self.tenant is not None
                await self._serve(self.tenant)
            except Exception as error:
                if self._is_alone:
                    raise
                # The edge of one tenant: the others serve on, and this one begins anew.
                _logger.exception("a tenant failed", extra={"tenant": self.name})
                self._trouble = f"failed: {type(error).__name__}"
                await self._pause()

    def reload(self) -> None:
        """End all connections, to come again, and make every part anew."""
        self._reload.set()

    async def drain(self) -> None:
        """Send every client away; returns when they are gone, or its deadline has passed."""
        if self.tenant is not None:
            await self.tenant.node.drain()

    async def wait_live(self) -> None:
        """Wait until its stream is live; a tenant without a database is not waited for."""
        if self.tenant is not None:
            await self.tenant.router.wait_live()

    def readiness(self) -> Readiness:
        """Whether it can do its work now."""
        if self.tenant is None:
            return Readiness(ready=False, checks={"database": self._trouble})
        return self.tenant.numbers.readiness()

    def samples(self) -> Iterable[Sample]:
        """Every number of it; none while it does not serve."""
        return () if self.tenant is None else self.tenant.numbers.samples()

    # ------------------------------------------------------------ steps

    async def _prepare_patiently(self) -> None:
        """Prepare the database, however often that takes."""
        while True:
            try:
                await self._prepare()
                self.tenant = await self._make()
            except RealtimeError as error:
                self._note_trouble(error)
                await self._pause()
            else:
                break
        self._trouble = ""
        _logger.info("a tenant serves", extra={"tenant": self.name})

    async def _make(self) -> Tenant:
        """Make all parts, and do what must be done before anybody is let in."""
        tenant = self._build()
        try:
            for open_ in tenant.openers:
                await open_()
        except BaseException:
            await self._close(tenant)
            raise
        return tenant

    async def _serve(self, tenant: Tenant) -> None:
        """Run the parts until one fails, a reload is asked for, or this is cancelled."""
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(named(name, work), name=self._task_name(name))
                    for name, work in tenant.parts
                ]
                await self._reload.wait()
                _logger.info("a tenant is made anew", extra={"tenant": self.name})
                await tenant.node.drain()
                for task in reversed(tasks):
                    task.cancel()
        finally:
            if asyncio.get_running_loop().time() - began_s >= STEADY_S:
                self._failures = 0
            self._reload.clear()
            self.tenant = None
            tenant.node.cut_off()
            await self._close(tenant)

    async def _pause(self) -> None:
        """Wait before the next try, longer each time."""
        pause_s = backoff_s(
            self._failures, first_s=PAUSE_FIRST_S, longest_s=PAUSE_MAX_S, rng=self._rng
        )
        self._failures += 1
        await asyncio.sleep(pause_s)

    async def _close(self, tenant: Tenant) -> None:
        for close in reversed(tenant.closers):
            try:
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await close()
            except Exception:  # the end of one tenant: what is still open goes with the process
                _logger.exception(
                    "something of a tenant did not close", extra={"tenant": self.name}
                )

    @contextmanager
    def _told_in_logs(self) -> Generator[None]:
        """Name the tenant in what is logged within, where there are others."""
        token = tenant_in_logs.set("" if self.plan.is_only else self.name)
        try:
            yield
        finally:
            tenant_in_logs.reset(token)

    def _task_name(self, part: str) -> str:
        return part if self._is_alone else f"{part} of {self.name}"

    def _note_trouble(self, error: RealtimeError) -> None:
        self._trouble = str(error).partition("\n")[0]
        _logger.warning(
            "a tenant's database is not ready",
            extra={"tenant": self.name, "reason": self._trouble},
        )


class PartEndedError(RealtimeError):
    """A part that runs as long as the server does ended without an error."""


async def named(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a part that should never end; say which one it was when it does."""
    try:
        await work()  # made here: a task that is cancelled before it began leaves none unawaited
    except Exception:
        _logger.exception("a part of the server failed", extra={"part": name})
        raise
    _logger.error("a part of the server ended by itself", extra={"part": name})
    raise PartEndedError(name)
