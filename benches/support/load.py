"""Drives a server with the load generator, on the core beside it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from benches.support.compiler import build
from benches.support.machine import load_core, pin

SPARE_S = 180.0


class LoadFailedError(Exception):
    """The generator gave up; its words are the message."""


class Target(Protocol):
    """What can be driven."""

    @property
    def port(self) -> int:
        """TCP port on loopback."""
        ...

    @property
    def path(self) -> str:
        """Path and query of the upgrade."""
        ...

    @property
    def pid(self) -> int:
        """The process whose processor time counts."""
        ...


class LoadReport(msgspec.Struct, frozen=True):
    """What the generator saw in the measured time.

    Attributes:
        replies_per_s: Heartbeats answered, or connections joined.
        p50_us: Of deliveries, heartbeats or joins, by mode; so are `p99_us` and `max_us`.
        server_cpu: Cores used by the server.
        server_cpu_user: Of these, in user mode.
        generator_cpu: Cores used by the generator.
        open_s: Seconds until every connection had joined.
    """

    elapsed_s: float
    published_per_s: float
    delivered_per_s: float
    replies_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    samples: int
    server_cpu: float
    server_cpu_user: float
    generator_cpu: float
    open_s: float
    errors: int
    closed_by_server: int


def _command(target: Target, mode: str, options: dict[str, Any]) -> list[str]:
    command = [str(build("wsload")), "--mode", mode, "--port", str(target.port)]
    command += ["--server-pid", str(target.pid)]
    for name, value in {"path": target.path, **options}.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def run_load(target: Target, mode: str, *, nice: int = 0, **options: Any) -> LoadReport:
    """Drive `target` for ``warm_up`` and ``seconds`` and say what was seen.

    Args:
        target: The server.
        mode: One of the generator's modes that end by themselves.
        nice: How far the generator steps back behind another one on the same core.
        options: The generator's options with underscores, such as ``clients=100``.

    Raises:
        LoadFailedError: It could not connect or join, or did not come to an end.
    """
    with _started(_command(target, mode, options)) as process:
        if nice:
            os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        try:
            output, words = process.communicate(timeout=SPARE_S)
        except subprocess.TimeoutExpired as error:
            raise LoadFailedError(f"wsload --mode {mode} did not end") from error
    if process.returncode != 0:
        raise LoadFailedError(f"wsload --mode {mode} failed: {words.strip()[-600:]}")
    return _parse(output)


class HeldLoad:
    """Connections held open (modes idle and listen) until `finish`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def finish(self) -> LoadReport:
        """End it and say what was seen since all had joined."""
        output, words = self._process.communicate("", timeout=SPARE_S)
        if self._process.returncode != 0:
            raise LoadFailedError(words.strip()[-600:])
        return _parse(output)


@contextmanager
def hold_load(target: Target, mode: str, **options: Any) -> Generator[HeldLoad]:
    """Connections that are all joined when the block begins.

    Raises:
        LoadFailedError: They did not all join.
    """
    with _started(_command(target, mode, options)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise LoadFailedError(process.communicate()[1].strip()[-600:])
        assert "opened" in json.loads(first)
        yield HeldLoad(process)


@contextmanager
def _started(command: list[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pin(process.pid, load_core())
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _parse(output: str) -> LoadReport:
    return msgspec.json.decode(output.strip().splitlines()[-1], type=LoadReport)
