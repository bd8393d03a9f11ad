"""Builds the C programs of benches/load into .build/."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benches.support.machine import BUILD_DIR, ROOT

LOAD_DIR = ROOT / "benches" / "load"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
PROGRAMS = {
    "wsload": ("wsload.c", "wsload_connection.c", "wsload_messages.c", "wsload_modes.c"),
    "cserver": ("cserver.c",),
}


class NoCompilerError(Exception):
    """This machine has no C compiler."""


def find_compiler() -> str:
    """Path of the C compiler: ``$CC``, else cc, gcc or clang.

    Raises:
        NoCompilerError: There is none; the message says how to get one.
    """
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise NoCompilerError(
        "The load generator is written in C and no C compiler was found "
        "(looked for $CC, cc, gcc, clang). On Debian and Ubuntu: apt-get install gcc libc6-dev"
    )


def build(program: str, folder: Path = BUILD_DIR) -> Path:
    """Compile one of `PROGRAMS`, unless what is there is newer than its sources.

    Raises:
        NoCompilerError: See `find_compiler`.
        subprocess.CalledProcessError: It does not compile; the compiler's words are on stderr.
    """
    binary = folder / program
    sources = [LOAD_DIR / name for name in PROGRAMS[program]]
    newest = max(path.stat().st_mtime for path in (*sources, *LOAD_DIR.glob("*.h")))
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_suffix(".new")
    subprocess.run([find_compiler(), *FLAGS, "-o", unfinished, *sources], check=True)
    unfinished.replace(binary)
    return binary
