"""The real server as a subprocess: `tidewire serve` with its own embedded PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from tidewire.adapters.jwt.sign import sign_token

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 12.0

_BAD_LOG_WORDS = ("Traceback", "unhandled", "never retrieved", "Exception in callback")


def wait_for(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait until `condition` holds, looking at it each 20 ms."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s} s"
        pause.wait(0.02)


class TidewireServer:
    """One data folder, and the server that runs on it now.

    Attributes:
        ready: What the ready file said.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        config: str = "",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidewire-server-"))
        self.ready: dict[str, Any] = {}
        self._database_url = database_url
        self._config = config
        self._environment = {**os.environ, **(environment or {})}
        self._log = self.folder / "log"
        self._log_mark = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.ready["url"].rstrip("/")

    @property
    def anon_key(self) -> str:
        return self.ready["anon_key"]

    @property
    def service_key(self) -> str:
        return self.ready["service_role_key"]

    @property
    def database_url(self) -> str:
        return self.ready["database_url"]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def token(self, role: str | None, *, lifetime_s: float = 3600.0, **claims: Any) -> str:
        """A token signed with the server's own secret; None leaves its role empty."""
        return sign_token(
            self.ready["jwt_secret"],
            role or "",
            now_s=time.time(),
            lifetime_s=lifetime_s,
            claims=claims,
        )

    def start(self) -> None:
        """Start and wait until it is ready; the same port as before on a restart."""
        ready_file = self.folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        port = self.url.rpartition(":")[2] if self.ready else "0"
        command = [Path(sys.executable).with_name("tidewire"), "serve", "--port", port]
        command += ["--data-dir", self.folder / "data", "--ready-file", ready_file]
        if self._config:
            file = self.folder / "tidewire.toml"
            file.write_text(self._config)
            command += ["--config", file]
        if self._database_url is not None:
            command += ["--database-url", self._database_url]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        process = self._process

        def is_ready_or_dead() -> bool:
            return ready_file.exists() or process.poll() is not None

        wait_for(is_ready_or_dead, within_s=START_DEADLINE_S, what=f"start\n{self.log()}")
        assert ready_file.exists(), f"the server ended:\n{self.log()}"
        self.ready = json.loads(ready_file.read_text())

    def stop(self) -> int:
        """Ask it to end, as a supervisor would; gives its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=STOP_DEADLINE_S)

    def kill(self) -> None:
        """kill -9; an embedded PostgreSQL keeps running."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=STOP_DEADLINE_S)

    def kill_postgres(self) -> None:
        """kill -9 of the embedded PostgreSQL's postmaster, and wait until it is gone."""
        pid = self._postmaster_pid()
        assert pid is not None, "no embedded PostgreSQL runs"
        process = psutil.Process(pid)
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.wait(timeout=STOP_DEADLINE_S)

    def log(self) -> str:
        """Everything it has said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def check_log(self) -> None:
        """Fail when the log since the last look shows what nobody handled."""
        text = self.log()
        news, self._log_mark = text[self._log_mark :], len(text)
        bad = [line for line in news.splitlines() if any(word in line for word in _BAD_LOG_WORDS)]
        assert not bad, f"the server's log says:\n{news[-6000:]}"

    def close(self) -> None:
        """End everything and remove the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=5)
        pid = self._postmaster_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _postmaster_pid(self) -> int | None:
        for file in self.folder.glob("data/**/postmaster.pid"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(file.read_text().splitlines()[0])
                if psutil.pid_exists(pid):
                    return pid
        return None
