"""A process that runs an embedded PostgreSQL, for tests that kill it or give it another user.

Usage: ``python -m tests.support.launcher FOLDER [UID]``. With UID it gives up root first, after
everything is imported, since that user may not be able to read this interpreter's files. Says
one line of JSON when the server answers, then waits for the end of its input and stops it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.postgres import FAST_SETTINGS, PASSWORD, ROOT
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres


async def _run(folder: Path) -> None:
    server = EmbeddedPostgres(folder, password=PASSWORD, extra_settings=FAST_SETTINGS)
    url = await server.start()
    assert server.launch is not None
    told = {"url": url, "pid": server.pid, "kind": server.launch.kind.name, "uid": os.getuid()}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


def start_launcher(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start this module as a program; read its line with `told_by`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.launcher", str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def told_by(launcher: subprocess.Popen[str]) -> dict[str, object]:
    assert launcher.stdout is not None
    return json.loads(launcher.stdout.readline())


def main() -> None:
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        number = int(sys.argv[2])
        for module in ("encodings.idna", "stringprep", "asyncio.selector_events"):
            importlib.import_module(module)
        os.setgroups([])
        os.setgid(number)
        os.setuid(number)
    asyncio.run(_run(folder))


if __name__ == "__main__":
    main()
