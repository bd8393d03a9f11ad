"""A real `tidewire serve` or `demo` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidewire.adapters.postgres.embedded import EmbeddedPostgres

TIDEWIRE = Path(sys.executable).with_name("tidewire")
READY_DEADLINE_S = 30.0
END_DEADLINE_S = 15.0
POLL_S = 0.02


async def wait_until(
    condition: Callable[[], object], *, deadline_s: float = END_DEADLINE_S
) -> None:
    """Wait for something outside this process, which nobody tells about."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - another process's doing sets no Event of ours
            await asyncio.sleep(POLL_S)


class ServerEndedError(Exception):
    """The server ended before it was ready."""


class Served:
    """A started server.

    Attributes:
        process: It.
        ready: What its ready file said; empty before `wait_ready`.
        output: Where its log and standard output go.
    """

    def __init__(self, process: asyncio.subprocess.Process, ready_file: Path, output: Path) -> None:
        self.process = process
        self.ready_file = ready_file
        self.output = output
        self.ready: dict[str, Any] = {}

    @property
    def log(self) -> str:
        return self.output.read_text()

    async def wait_ready(self) -> None:
        """Wait for a ready file of this very process."""
        await wait_until(
            lambda: self._is_ready() or self.process.returncode is not None,
            deadline_s=READY_DEADLINE_S,
        )
        if not self._is_ready():
            raise ServerEndedError(self.log)

    def _is_ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            told = json.loads(self.ready_file.read_text())
            if told["pid"] == self.process.pid:
                self.ready = told
        return bool(self.ready)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return await self.exit_code()

    async def exit_code(self) -> int:
        async with asyncio.timeout(END_DEADLINE_S):
            return await self.process.wait()


class Launcher:
    """Starts servers, and ends at its end whatever of them still runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._served: list[Served] = []

    async def start(self, *arguments: str, command: str = "serve", **variables: str) -> Served:
        """Start a server without waiting for it; flags given later win over the usual ones."""
        number = len(self._served)
        ready_file = self.folder / "ready.json"
        output = self.folder / f"output-{number}.log"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                TIDEWIRE, command, "--port", "0", "--data-dir", str(self.data_dir),
                "--ready-file", str(ready_file), *arguments,
                stdout=file, stderr=file, cwd=self.folder,
                env={"PATH": os.environ["PATH"], **variables},
            )  # fmt: skip
        served = Served(process, ready_file, output)
        self._served.append(served)
        return served

    async def start_ready(self, *arguments: str, command: str = "serve") -> Served:
        served = await self.start(*arguments, command=command)
        await served.wait_ready()
        return served

    async def close(self) -> None:
        for served in self._served:
            if served.process.returncode is None:
                await served.end(signal.SIGKILL)
        postgres = self.data_dir / "postgres"
        if postgres.exists():
            await EmbeddedPostgres(postgres, password="unused").stop()


@asynccontextmanager
async def launcher(folder: Path) -> AsyncGenerator[Launcher]:
    made = Launcher(folder)
    try:
        yield made
    finally:
        await made.close()
