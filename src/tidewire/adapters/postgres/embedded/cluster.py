"""The life of one embedded PostgreSQL: made, started or adopted, watched, stopped.

The server runs in a session of its own and outlives this process: after a kill -9 of ours it
serves on, and the next start takes it over instead of starting another. Which server is ours
is decided by the pid in the data folder, by what that process runs on, and by its answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import types
from collections.abc import Mapping
from pathlib import Path

from tidewire.adapters.postgres.embedded import folders, initialise, login, pid_file
from tidewire.adapters.postgres.embedded.binaries import Binaries, binaries_of_major, find_binaries
from tidewire.adapters.postgres.embedded.config import server_settings
from tidewire.adapters.postgres.embedded.orphans import end_orphans
from tidewire.adapters.postgres.embedded.postmaster import (
    end_postmaster,
    spawn_postmaster,
    start_lock,
)
from tidewire.adapters.postgres.embedded.privileges import Launch, plan_launch
from tidewire.adapters.postgres.embedded.process import ServerProcess, is_postmaster_of
from tidewire.adapters.postgres.embedded.startup_errors import explain_failure, is_port_taken
from tidewire.core.errors import DatabaseUnavailableError, RealtimeError, SetupError

READY_DEADLINE_S = 60.0
PORT_TRIES = 5
LOG_CHECK_S = 30.0
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
STEADY_S = 10.0

_POLL_S = 0.005
_LOG_TAIL_BYTES = 4096
_NO_SETTINGS: Mapping[str, str] = types.MappingProxyType({})

logger = logging.getLogger(__name__)


class _PortTakenError(Exception):
    """The server did not start because its port was taken."""


class EmbeddedPostgres:
    """One PostgreSQL server with its own folder.

    Use from one event loop at a time. One instance per folder: the lock of the data folder
    is the caller's to hold.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        port: int | None = None,
        extra_settings: Mapping[str, str] = _NO_SETTINGS,
        bin_folder: Path | None = None,
        enclosing: Path | None = None,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            folder: Ours alone; made when absent. The cluster lies in its subfolder `data`.
            password: Of the superuser `postgres`; set at every start.
            port: TCP port on 127.0.0.1; None keeps the last one, or chooses.
            extra_settings: PostgreSQL settings that win over ours.
            bin_folder: Where `postgres` and `initdb` are; None searches.
            enclosing: A folder around `folder` that is ours too: where root runs us, its mode
                may be loosened from 0700 to 0710 for the server's group.
        """
        self.folder = folder.absolute()
        self.data_folder = self.folder / "data"
        self.log_file = self.folder / "server.log"
        self._password = password
        self._given_port = port
        self._port = port
        self._extra_settings = dict(extra_settings)
        self._bin_folder = bin_folder
        self._enclosing = enclosing
        self._binaries: Binaries | None = None
        self._launch: Launch | None = None
        self._process: ServerProcess | None = None
        self._running_version = ""
        self._started_at_s = 0.0
        self._log_begin = 0
        self._is_new = False
        self._is_stopping = False
        self._changing = asyncio.Lock()

    @property
    def binaries(self) -> Binaries:
        """The programs in use.

        Raises:
            SetupError: There are none on this machine.
        """
        if self._launch is not None:
            return self._launch.binaries
        if self._binaries is None:
            self._binaries = self._find_binaries()
        return self._binaries

    @property
    def launch(self) -> Launch | None:
        """How the programs are run here; None before `start`."""
        return self._launch

    @property
    def version(self) -> str:
        """Of the running server, such as ``18.6``; before `start`, of the programs."""
        return self._running_version or self.binaries.version

    @property
    def binaries_folder(self) -> Path:
        """Where `postgres` and its companions lie."""
        return self.binaries.folder

    @property
    def pid(self) -> int | None:
        """The postmaster's; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1; known after `start`."""
        assert self._port is not None, "start was not called"
        return self._port

    @property
    def url(self) -> str:
        """For the superuser, over TCP on loopback with its password; known after `start`."""
        return login.database_url(self._password, self.port)

    async def start(self) -> str:
        """Make the cluster if need be, and start its server or adopt the one that runs.

        A second call with the server running gives the same address and changes nothing.

        Returns:
            `url`. The server answers on it.

        Raises:
            SetupError: It cannot be started as things are; the advice says what to do.
            DatabaseUnavailableError: It started and did not get ready within the deadline.
        """
        async with self._changing:
            self._is_stopping = False
            await asyncio.to_thread(folders.make_folder, self.folder)
            async with start_lock(self.folder):
                await asyncio.to_thread(self._prepare)
                if not await self._adopt():
                    await self._start_server()
            self._started_at_s = time.monotonic()
        return self.url

    async def supervise(self) -> None:
        """Start the server again whenever it ends, until cancelled or stopped.

        Tries for ever, with a pause of at most `BACKOFF_MAX_S`. Also keeps the log short.
        Call `start` first.
        """
        pause_s = 0.0
        while not self._is_stopping:
            process = self._process
            if process is not None and not await process.wait(timeout_s=LOG_CHECK_S):
                await asyncio.to_thread(folders.cut_log, self.log_file)
                continue
            if self._is_stopping:
                return
            if time.monotonic() - self._started_at_s >= STEADY_S:
                pause_s = 0.0
            logger.warning("PostgreSQL ended by itself; starting it again", extra={"pid": self.pid})
            await asyncio.sleep(pause_s)
            pause_s = min(max(pause_s * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
            await self._try_to_start()

    async def stop(self) -> None:
        """Shut the server down: fast, after a deadline immediately, at last by a kill.

        A server that is not running is no fault.
        """
        self._is_stopping = True
        async with self._changing:
            process = self._process or self._find_running()
            if process is None:
                return
            self._process = process
            socket_folder = self._socket_folder_in_use()
            await end_postmaster(process)
            self._let_go()
            if socket_folder is not None:
                folders.remove_short_socket_folder(socket_folder, self.folder)

    async def _try_to_start(self) -> None:
        try:
            await self.start()
        except RealtimeError as error:
            # Else the pauses began anew at each try: its last life counted as a long one.
            self._started_at_s = time.monotonic()
            logger.error("PostgreSQL could not be started again: %s", error)  # noqa: TRY400 (the error explains itself; it comes at each try)

    # ------------------------------------------------------------ before the server

    def _find_binaries(self) -> Binaries:
        """The usual search, unless the cluster is of an older major that is still installed."""
        found = find_binaries(self._bin_folder)
        try:
            major = int((self.data_folder / "PG_VERSION").read_text())
        except (OSError, ValueError):
            return found
        if self._bin_folder is None and major != found.major:
            return binaries_of_major(major) or found
        return found

    def _prepare(self) -> None:
        if self._launch is None:
            self._launch = plan_launch(self.binaries, self.folder, enclosing=self._enclosing)
        try:
            self._launch.open_passage(self.folder)
            is_durable = self._extra_settings.get("fsync", "on") != "off"
            self._is_new = initialise.initialise_cluster(
                self._launch, self.data_folder, is_durable=is_durable
            )
            if self._is_new:
                logger.info("made a PostgreSQL cluster", extra={"version": self.binaries.version})
        except OSError as error:
            raise explain_failure("could not prepare the data folder", str(error)) from error

    # ------------------------------------------------------------ adopting

    async def _adopt(self) -> bool:
        """Take over a server that runs on our folder; clear what a dead one left."""
        seen = pid_file.read_pid_file(self.data_folder)
        process = self._find_running()
        if process is None:
            await self._clear_leftovers(seen)
            return False
        if seen is not None and self._given_port not in {None, seen.port} and seen.port:
            logger.info("restarting PostgreSQL on another port", extra={"port": self._given_port})
            await end_postmaster(process)
            self._let_go()
            return False
        self._process = process
        if not await self._wait_until_ready(process):
            self._let_go()
            return False
        logger.info("adopted the PostgreSQL that was running", extra={"pid": process.pid})
        await self._check_answer()
        return True

    def _find_running(self) -> ServerProcess | None:
        """A handle on the server that runs on our folder, if one does."""
        if self._process is not None:
            if self._process.is_running:
                return self._process
            self._let_go()
        seen = pid_file.read_pid_file(self.data_folder)
        if seen is None:
            return None
        try:
            process = ServerProcess(seen.pid)
        except OSError:
            return None
        # Held first, asked second: the number cannot pass to another process in between.
        if process.is_running and is_postmaster_of(seen.pid, self.data_folder):
            return process
        process.close()
        return None

    async def _clear_leftovers(self, seen: pid_file.PidFile | None) -> None:
        """PostgreSQL would refuse a stale pid file whose number another process has by now."""
        if seen is not None and seen.shared_memory_id is not None:
            ended = await end_orphans(seen.shared_memory_id, self._prepared_launch)
            if ended:
                logger.warning("ended processes of a killed PostgreSQL", extra={"count": ended})
        (self.data_folder / pid_file.NAME).unlink(missing_ok=True)

    def _socket_folder_in_use(self) -> Path | None:
        seen = pid_file.read_pid_file(self.data_folder)
        return Path(seen.socket_folder) if seen is not None and seen.socket_folder else None

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    # ------------------------------------------------------------ starting

    async def _start_server(self) -> None:
        for _ in range(PORT_TRIES):
            self._port = self._choose_port()
            try:
                await self._start_on_port(self._port)
            except _PortTakenError:
                continue
            return await self._check_answer()
        raise SetupError(
            f"port {self._port} was taken by another program at every try",
            "Start again, or give a port in the settings.",
        )

    def _choose_port(self) -> int:
        if self._given_port is not None:
            if not folders.is_port_free(self._given_port):
                raise SetupError(
                    f"port {self._given_port} on 127.0.0.1 is taken by another program",
                    "Free it, or give another port for the embedded PostgreSQL.",
                )
            return self._given_port
        kept = initialise.kept_port(self.data_folder)
        if kept is not None and folders.is_port_free(kept):
            return kept
        chosen = folders.choose_port(self.folder)
        if kept is not None:
            logger.warning(
                "the port of the last run is taken; using another",
                extra={"taken": kept, "port": chosen},
            )
        return chosen

    async def _start_on_port(self, port: int) -> None:
        process = await asyncio.to_thread(self._spawn, port)
        self._process = process
        if await self._wait_until_ready(process):
            return
        self._let_go()
        said = self._log_tail()
        if is_port_taken(said) and self._given_port is None:
            raise _PortTakenError
        raise explain_failure("PostgreSQL did not start", said)

    @property
    def _prepared_launch(self) -> Launch:
        assert self._launch is not None, "_prepare was not called"
        return self._launch

    def _spawn(self, port: int) -> ServerProcess:
        launch = self._prepared_launch
        try:
            socket_folder = folders.socket_folder_for(self.folder, launch)
            for stale in socket_folder.glob(".s.PGSQL.*"):
                stale.unlink(missing_ok=True)
            settings = server_settings(
                major=launch.binaries.major,
                port=port,
                socket_folder=socket_folder,
                extra=self._extra_settings,
            )
            initialise.write_settings(launch, self.data_folder, settings)
            folders.cut_log(self.log_file)
            self._log_begin = self.log_file.stat().st_size if self.log_file.exists() else 0
            return spawn_postmaster(launch, self.data_folder, self.log_file)
        except OSError as error:
            raise explain_failure("PostgreSQL could not be started", str(error)) from error

    async def _wait_until_ready(self, process: ServerProcess) -> bool:
        """Wait until it takes connections; False when it ended instead.

        Raises:
            DatabaseUnavailableError: Neither within the deadline; it is left running.
        """
        deadline_s = time.monotonic() + READY_DEADLINE_S
        while time.monotonic() < deadline_s:
            if not process.is_running:
                return False
            seen = pid_file.read_pid_file(self.data_folder)
            if seen is not None and seen.pid == process.pid and seen.is_ready:
                self._port = seen.port
                return True
            await asyncio.sleep(_POLL_S)
        raise DatabaseUnavailableError(
            f"the embedded PostgreSQL was not ready after {READY_DEADLINE_S:.0f} s; "
            f"it may still be replaying its log, see {self.log_file}"
        )

    async def _check_answer(self) -> None:
        """Log in as a client would; sets the password when the cluster has another."""
        assert self._port is not None, "the server is ready, so its port is known"
        self._running_version = await login.check_login(
            password=self._password,
            port=self._port,
            socket_folder=self._socket_folder_in_use(),
            data_folder=self.data_folder,
            is_new=self._is_new,
        )

    def _log_tail(self) -> str:
        """What the server said since it was started."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(self._log_begin, self.log_file.stat().st_size - _LOG_TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError as error:
            return str(error)
