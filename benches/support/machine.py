"""What the figures were measured on: machine, versions, commit, cores."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

from benches.support.result import Machine

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD_DIR = ROOT / ".build" / "bench"
_PACKAGES = ("tidewire", "uvloop", "uvicorn", "msgspec", "asyncpg", "websockets")


def describe_machine() -> Machine:
    """Processor, cores, memory and kernel of this machine."""
    return Machine(
        processor=_processor_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
    )


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that the server stands on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def describe_commit() -> str:
    """Short id of HEAD, with ``+`` when the sources differ from it; "unknown" without git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def renderer_name() -> str:
    """``cython`` when the compiled row renderer imports, else ``python``."""
    try:
        importlib.import_module("tidewire.protocol.pgoutput._render")
    except ImportError:
        return "python"
    return "cython"


def server_core() -> int:
    """The core that servers run on."""
    return min(os.sched_getaffinity(0))


def load_core() -> int:
    """The core for everything else: generator, database, writers."""
    return max(os.sched_getaffinity(0))


def pin(process_id: int, core: int) -> None:
    """Bind every thread of a process, and what it starts later, to one core."""
    for thread in psutil.Process(process_id).threads():
        try:
            os.sched_setaffinity(thread.id, {core})
        except ProcessLookupError:
            continue  # the thread ended meanwhile


def pin_tree(process_id: int, core: int) -> None:
    """Bind a process and all its descendants to one core."""
    process = psutil.Process(process_id)
    for member in (process, *process.children(recursive=True)):
        try:
            pin(member.pid, core)
        except psutil.NoSuchProcess:
            continue
