"""Holding a process, and telling ours from a stranger."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidewire.adapters.postgres.embedded.process import ServerProcess, is_postmaster_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture(params=[True, False], ids=["by descriptor", "by number"])
def held(
    request: pytest.FixtureRequest,
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ServerProcess]:
    if not request.param:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    process = ServerProcess(child.pid, child=child)
    yield process
    process.close()


async def test_its_end_is_noticed(held: ServerProcess) -> None:
    assert held.is_running
    assert not await held.wait(timeout_s=0.05)
    held.send_signal(signal.SIGKILL)
    assert await held.wait(timeout_s=5)
    assert not held.is_running


async def test_two_may_wait_for_one(held: ServerProcess) -> None:
    both = asyncio.gather(held.wait(timeout_s=5), held.wait(timeout_s=5))
    await asyncio.sleep(0)
    held.send_signal(signal.SIGKILL)
    assert await both == [True, True]


async def test_a_signal_after_the_end_does_nothing(held: ServerProcess) -> None:
    held.send_signal(signal.SIGKILL)
    await held.wait(timeout_s=5)
    held.send_signal(signal.SIGTERM)


def test_no_such_process_is_told() -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    with pytest.raises(ProcessLookupError):
        ServerProcess(gone.pid)


def test_a_stranger_is_not_ours(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    assert not is_postmaster_of(os.getpid(), tmp_path)
    assert not is_postmaster_of(child.pid, tmp_path)
    assert not is_postmaster_of(2**22 + 1, tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("name", "given", "is_ours"),
    [
        ("postgres", "here", True),
        ("postgres", "elsewhere", False),
        ("editor", "here", False),
    ],
)
def test_ours_is_known_by_its_program_and_its_folder(
    tmp_path: Path, name: str, given: str, is_ours: bool
) -> None:
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
    command = [name, "-c", "print(flush=True); input()", "-D", str(tmp_path / given)]
    with subprocess.Popen(
        command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # by now its command line is its own
        assert is_postmaster_of(process.pid, tmp_path / "here") is is_ours
        process.kill()
