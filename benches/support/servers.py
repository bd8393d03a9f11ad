"""The measured servers: the product, and the C loop that stands for the machine's limit.

Both run on one core and may run side by side: an idle one costs nothing, so runs can alternate.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil

from benches.support.compiler import build
from benches.support.machine import ROOT, load_core, pin_tree, server_core

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
_POLL_S = 0.005


class ServerFailedError(Exception):
    """A server did not start; the message ends with the last lines of its log."""


class ReadyFile(msgspec.Struct, frozen=True):
    """What of the product's ready file the benches use."""

    url: str
    anon_key: str
    service_role_key: str
    jwt_secret: str
    database_url: str
    pid: int


def allow_many_files() -> None:
    """Raise the limit of open files to what the machine allows; children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class ReferenceServer:
    """The C loop: ``mode`` is ``send`` (one send per delivery) or ``coalesce``."""

    def __init__(self, mode: str = "send") -> None:
        self._mode = mode
        self.path = "/realtime/v1/websocket?vsn=2.0.0"
        self.pid = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [build("cserver"), "--mode", self._mode], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = json.loads(self._process.stdout.readline())["port"]
        self.pid = self._process.pid
        pin_tree(self.pid, server_core())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def processes(self) -> list[int]:
        """Ids of its processes."""
        return [self.pid]


class TidewireServer:
    """``tidewire serve`` with its own database in a new folder, on the server's core.

    The database runs on the other core, beside the load: what is measured is our process.

    Args:
        environment: Settings as variables, beyond the defaults.

    Attributes:
        ready: What its ready file said at the last start.
        took_s: Seconds that the last start took.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: ReadyFile
        self.took_s = 0.0

    @property
    def pid(self) -> int:
        """The server process itself, not the command's wrapper or the database."""
        return self.ready.pid

    @property
    def port(self) -> int:
        """TCP port of everything."""
        return int(self.ready.url.rpartition(":")[2].strip("/"))

    @property
    def path(self) -> str:
        """Path of the upgrade with the anonymous key."""
        return f"/realtime/v1/websocket?apikey={self.ready.anon_key}&vsn=2.0.0"

    @property
    def service_path(self) -> str:
        """Path of the upgrade with the service key."""
        return f"/realtime/v1/websocket?apikey={self.ready.service_role_key}&vsn=2.0.0"

    @property
    def data_dir(self) -> Path:
        """The folder with keys and database."""
        return self._folder / "data"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="tidewire-bench-"))
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServerFailedError: It ended, or was not ready in time.
        """
        ready_file = self._folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        command = [_command(), "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        began = time.monotonic()
        with (self._folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--ready-file", str(ready_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                cwd=self._folder,
            )
        while not ready_file.exists():
            if self._process.poll() is not None or time.monotonic() - began > READY_TIMEOUT_S:
                self._process.kill()
                raise ServerFailedError(f"tidewire serve did not get ready\n{self.log_tail()}")
            time.sleep(_POLL_S)
        self.took_s = time.monotonic() - began
        self.ready = msgspec.json.decode(ready_file.read_bytes(), type=ReadyFile)
        self._pin()

    def stop(self) -> None:
        """Drain and stop it; kill it when it does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        for process_id in self._database_processes():
            psutil.Process(process_id).kill()

    def processes(self) -> list[int]:
        """Ids of its processes, the database's included."""
        tree = [self.pid, *(child.pid for child in psutil.Process(self.pid).children())]
        return list({*tree, *self._database_processes()})

    def resident_kb(self) -> float:
        """Resident memory of our process."""
        return psutil.Process(self.pid).memory_info().rss / 1024

    def cpu_s(self) -> float:
        """Processor time of our process so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def log_tail(self, lines: int = 30) -> str:
        """The end of its log."""
        text = (self._folder / "serve.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _pin(self) -> None:
        pin_tree(self.pid, server_core())
        for process_id in self._database_processes():
            pin_tree(process_id, load_core())

    def _database_processes(self) -> list[int]:
        """The postmaster and its children; empty when the database is not ours or is down."""
        for pid_file in self.data_dir.rglob("postmaster.pid"):
            try:
                postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
                return [postmaster.pid, *(child.pid for child in postmaster.children())]
            except (psutil.NoSuchProcess, FileNotFoundError):
                continue
        return []

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _command() -> str:
    beside_python = Path(sys.executable).parent / "tidewire"
    return str(beside_python if beside_python.exists() else ROOT / ".venv" / "bin" / "tidewire")
