"""The life of the server's process.

Opened in this order and closed in the reverse: data folder, database, migrations, sample data,
stream, engine, web server, ready file. The parts that run are tasks of one group: when one of
them fails, that is logged with its name, everything else is closed in order, and the process
ends with code 1. A database that goes away is no failure: the stream and the supervisor of an
embedded database come back by themselves.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import cast

from tidewire import __version__
from tidewire.core.errors import SetupError
from tidewire.core.host_name import LOOPBACK_NAME
from tidewire.protocol.pgoutput.compiled import use_python
from tidewire.protocol.pgoutput.render import renderer_name
from tidewire.server.build import (
    Server,
    build_server,
    check_database,
    database_beside,
    enable_table,
    make_database,
    migrate,
    open_database,
)
from tidewire.server.data_folder import DataFolder
from tidewire.server.database import Database, require_fit
from tidewire.server.demo.load import demo_users, load_demo
from tidewire.server.demo.robots import Robots
from tidewire.server.logging_setup import set_up_logging
from tidewire.server.ready_file import (
    FOLDER_NAME,
    DemoSignIn,
    ReadyRecord,
    TenantRecord,
    remove_record,
    write_record,
)
from tidewire.server.settings import Settings
from tidewire.server.stop_signal import StopSignal
from tidewire.server.tenant import Part, TenantPlan
from tidewire.server.tenant_plans import plan_tenants
from tidewire.server.tenant_runner import TenantRunner, named
from tidewire.server.verifying import check_auth

try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform; asyncio's own loop does the same, slower
    new_event_loop = None

LIVE_DEADLINE_S = 15.0
"""How long the ready file waits for the stream; after that the server is ready without it."""

DRAIN_DEADLINE_S = 6.0
"""For connections; what is left of the stop's time is the embedded database's."""

OnReady = Callable[[ReadyRecord], None]

GC_THRESHOLDS = 10_000, 20, 50
"""Of the cycle collector. What connections hold is freed by counting; the default thresholds look
through all of it again and again, which holds up everybody for milliseconds."""

_logger = logging.getLogger(__name__)


def run(settings: Settings, *, with_demo: bool = False, on_ready: OnReady = lambda _: None) -> None:
    """Run a server until SIGTERM or SIGINT; returns once it has drained.

    Args:
        settings: All of them.
        with_demo: Make the sample data first.
        on_ready: Told once the server is ready.

    Raises:
        SetupError: It cannot run as things are.
        SystemExit: A part failed, with code 1; its traceback is in the log.
    """
    set_up_logging(settings.log)
    if settings.stream.renderer == "python":
        use_python()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_Life(settings, with_demo, on_ready).run())


class _Life:
    """One run, from the lock of the data folder to its release."""

    def __init__(self, settings: Settings, with_demo: bool, on_ready: OnReady) -> None:  # noqa: FBT001 - private, called once
        self._settings = settings
        self._with_demo = with_demo
        self._on_ready = on_ready
        self._began_s = time.monotonic()
        self._stop = StopSignal()

    async def run(self) -> None:
        with self._stop.installed():
            try:
                async with AsyncExitStack() as stack:
                    await self._run(stack)
            except asyncio.CancelledError:
                if not self._stop.is_asked:
                    raise
            except BaseExceptionGroup as group:
                raise _reason(group) from group
        _logger.info("stopped")

    async def _run(self, stack: AsyncExitStack) -> None:
        with self._stop.interruptible():
            path = Path(self._settings.server.data_dir)
            folder = stack.enter_context(DataFolder.open(path))
            self._check_ready_file()
            for own in self._settings.tenants.values() or [self._settings]:
                check_auth(own.auth)
            opening = open_database(self._settings, folder, stop_within_s=self._stop.seconds_left)
            database = await stack.enter_async_context(opening)
            plans = plan_tenants(
                self._settings,
                folder,
                embedded_url=lambda name: self._embedded_url(database, name),
                is_demo=self._with_demo,
                now_s=time.time(),
            )
            server = build_server(
                self._settings, plans, prepare=partial(self._prepare, database=database)
            )
            for tenant in server.tenants:
                await tenant.prepare()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_awaited(work), name=name)
                for name, work in self._parts(server, database)
            ]
            try:
                with self._stop.interruptible():
                    host, port = await server.web.start()
                    await self._wait_live(server)
                    self._announce(self._record(host, port, plans), folder)
                await self._stop.wait()
            finally:
                _logger.info("stopping")
                self._retract(folder)
                await self._drain(server)
                for task in reversed(tasks):
                    task.cancel()

    # ------------------------------------------------------------ before it runs

    def _check_ready_file(self) -> None:
        """Find out now, not at the end of the start, that the file could not be written."""
        name = self._settings.server.ready_file
        if name and not os.access(Path(name).absolute().parent, os.W_OK):
            raise SetupError(
                f"The ready file {name} cannot be written: its folder is absent or read-only.",
                "Make the folder, or name another with --ready-file.",
            )

    def _embedded_url(self, database: Database, tenant: str) -> str:
        """Where a tenant without a database of its own has one."""
        return database_beside(database.url, tenant) if self._settings.tenants else database.url

    async def _prepare(self, plan: TenantPlan, *, database: Database) -> None:
        """Bring a tenant's database to what the server needs."""
        url, publication = plan.database_url, plan.settings.database.publication
        is_ours = database.supervise is not None and not plan.settings.database.url
        if is_ours and url != database.url:
            await make_database(database.url, plan.name)
        told = database.description if is_ours else "the database of database.url"
        _logger.info("database", extra={"database": told, **self._field(plan)})
        if not is_ours:
            problems = await check_database(url, publication=publication)
            may_wait = bool(self._settings.tenants)
            for warning in require_fit(list(problems), may_wait=may_wait):
                advice = {"advice": warning.advice}
                _logger.warning(warning.problem, extra={**advice, **self._field(plan)})
        await migrate(url, publication=publication)
        if plan.is_demo:
            await self._load_demo(plan)

    async def _load_demo(self, plan: TenantPlan) -> None:
        url, publication = plan.database_url, plan.settings.database.publication

        async def enable(table: str, full: bool) -> None:  # noqa: FBT001 - `EnableTable` calls it so
            await enable_table(url, table, full=full, publication=publication)

        if await load_demo(url, seed=self._settings.demo.seed, enable=enable):
            _logger.info("made the sample data")

    def _field(self, plan: TenantPlan) -> dict[str, str]:
        """Says in a log line whose it is, where that is a question."""
        return {"tenant": plan.name} if self._settings.tenants else {}

    def _parts(self, server: Server, database: Database) -> list[Part]:
        """What runs as long as the server does, in the order of its start."""
        parts: list[Part] = []
        if database.supervise is not None:
            parts.append(("database", partial(named, "database", database.supervise)))
        parts += [(tenant.name, tenant.run) for tenant in server.tenants]
        if self._with_demo and self._settings.demo.simulate:
            robots = Robots(database.url, edits_per_s=self._settings.demo.edits_per_s)
            parts.append(("robots", partial(named, "robots", robots.run)))
        return parts

    async def _wait_live(self, server: Server) -> None:
        waiting = [self._wait_one_live(tenant) for tenant in server.tenants]
        await asyncio.gather(*waiting)

    async def _wait_one_live(self, tenant: TenantRunner) -> None:
        try:
            async with asyncio.timeout(LIVE_DEADLINE_S):
                await tenant.wait_live()
        except TimeoutError:
            reason = tenant.trouble or "no answer yet"
            extra = {"reason": reason, **self._field(tenant.plan)}
            _logger.warning("ready before the stream is live", extra=extra)

    # ------------------------------------------------------------ while it runs

    def _record(self, host: str, port: int, plans: Sequence[TenantPlan]) -> ReadyRecord:
        scheme = "https" if self._settings.server.tls_certificate else "http"
        url, first = local_url(host, port, scheme=scheme), plans[0]
        users = [DemoSignIn(user.email, user.password) for user in demo_users(first.secret)]
        return ReadyRecord(
            url=url,
            anon_key=first.keys.anon,
            service_role_key=first.keys.service_role,
            jwt_secret=first.secret,
            database_url=first.database_url,
            dashboard_url=f"{(self._settings.server.public_url or url).rstrip('/')}/",
            version=__version__,
            pid=os.getpid(),
            demo_users=users if self._with_demo else None,
            tenants=self._tenant_records(url, port, plans) if self._settings.tenants else None,
        )

    def _tenant_records(
        self, url: str, port: int, plans: Sequence[TenantPlan]
    ) -> dict[str, TenantRecord]:
        scheme = url.partition("://")[0]
        return {
            plan.name: TenantRecord(
                url=f"{scheme}://{plan.name}.{LOOPBACK_NAME}:{port}",
                hosts=plan.settings.tenant.hosts,
                anon_key=plan.keys.anon,
                service_role_key=plan.keys.service_role,
                jwt_secret=plan.secret,
                database_url=plan.database_url,
            )
            for plan in plans
        }

    def _announce(self, record: ReadyRecord, folder: DataFolder) -> None:
        gc.freeze()  # what is there now stays: never look through it again
        gc.set_threshold(*GC_THRESHOLDS)
        for path in self._record_paths(folder):
            try:
                write_record(record, path)
            except OSError as error:
                raise SetupError(f"{path} cannot be written: {error.strerror}.") from error
        ready_in_s = round(time.monotonic() - self._began_s, 3)
        _logger.info(
            "ready",
            extra={"url": record.url, "ready_in_s": ready_in_s, "renderer": renderer_name()},
        )
        self._on_ready(record)

    def _retract(self, folder: DataFolder) -> None:
        for path in self._record_paths(folder):
            remove_record(path, pid=os.getpid())

    def _record_paths(self, folder: DataFolder) -> list[Path]:
        paths = [folder.path / FOLDER_NAME]
        if self._settings.server.ready_file:
            paths.append(Path(self._settings.server.ready_file))
        return paths

    # ------------------------------------------------------------ at its end

    async def _drain(self, server: Server) -> None:
        """Send every client away, then close the port; bounded, whatever clients do."""
        try:
            async with asyncio.timeout(DRAIN_DEADLINE_S):
                await asyncio.gather(*[tenant.drain() for tenant in server.tenants])
                await server.web.stop()
        except TimeoutError:
            _logger.warning("not all connections ended in time")


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`; made as late as this, nothing is left unawaited by a task that never began."""
    await work()


def local_url(host: str, port: int, *, scheme: str = "http") -> str:
    """Address under which programs of this machine reach a server that listens on `host`."""
    reachable = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    if ":" in reachable and not reachable.startswith("["):
        reachable = f"[{reachable}]"
    return f"{scheme}://{reachable}:{port}"


def _reason(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to end the process with: advice for a person where there is some, else code 1."""
    return next((error for error in _leaves(group) if isinstance(error, SetupError)), SystemExit(1))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error
