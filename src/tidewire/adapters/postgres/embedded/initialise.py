"""Making a new cluster, and the settings of an old one, before its server starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tidewire.adapters.postgres.embedded.config import (
    ACCESS_RULES,
    SETTINGS_FILE,
    port_in,
    render_settings,
)
from tidewire.adapters.postgres.embedded.privileges import Launch
from tidewire.adapters.postgres.embedded.startup_errors import explain_failure
from tidewire.core.errors import SetupError

INITDB_DEADLINE_S = 120.0

_INCLUDE = f"\ninclude '{SETTINGS_FILE}'\n"
_LOCALES = ("C.UTF-8", "C")


def initialise_cluster(launch: Launch, data: Path, *, is_durable: bool) -> bool:
    """Make the cluster unless it is there; gives an existing one to the server's account.

    It is made beside its place and moved there when whole, so that a kill in the middle
    leaves nothing half made.

    Returns:
        Whether it was made now.

    Raises:
        SetupError: It is of another major version, or could not be made.
    """
    if data.exists():
        check_major(launch, data)
        launch.own_tree(data)
        return False
    unfinished = data.with_name(f"{data.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    launch.own_tree(unfinished)
    _run_initdb(launch, unfinished, is_durable=is_durable)
    _write_as(launch, unfinished / "pg_hba.conf", ACCESS_RULES)
    main = unfinished / "postgresql.conf"
    _write_as(launch, main, main.read_text() + _INCLUDE)
    unfinished.rename(data)
    return True


def check_major(launch: Launch, data: Path) -> None:
    """Refuse a cluster that the programs cannot open.

    Raises:
        SetupError: It is of another major version, or no cluster at all.
    """
    try:
        text = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise SetupError(
            f"{data} exists and holds no PostgreSQL cluster",
            "Move it away, or choose another data folder with --data-dir.",
        ) from None
    except OSError as error:
        raise SetupError(
            f"cannot read {data}: {error.strerror}", "Run Tidewire as the folder's owner."
        ) from error
    if text != str(launch.binaries.major):
        raise SetupError(
            f"{data} was made by PostgreSQL {text}, and the programs here are "
            f"{launch.binaries.version} (from {launch.binaries.source})",
            f"Install PostgreSQL {text} on this machine, or carry the data over with pg_upgrade "
            "or pg_dump, or choose another data folder with --data-dir.",
        )


def write_settings(launch: Launch, data: Path, settings: Mapping[str, str]) -> None:
    """Write the settings file whole; the next start or reload reads it."""
    target = data / SETTINGS_FILE
    aside = target.with_suffix(".new")
    _write_as(launch, aside, render_settings(settings))
    aside.replace(target)


def kept_port(data: Path) -> int | None:
    """The port of the last start; None when there was none."""
    try:
        return port_in((data / SETTINGS_FILE).read_text())
    except OSError:
        return None


def _run_initdb(launch: Launch, target: Path, *, is_durable: bool) -> None:
    problems: list[str] = []
    for locale in _LOCALES:
        try:
            answer = subprocess.run(  # noqa: S603 (found binaries, no shell)
                launch.command("initdb", _initdb_arguments(launch, target, locale, is_durable)),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=INITDB_DEADLINE_S,
                check=False,
                cwd="/",
                env=launch.environment,
                **launch.spawn_options(),
            )
        except subprocess.TimeoutExpired:
            problems = [f"initdb did not end within {INITDB_DEADLINE_S:.0f} s"]
            break
        except OSError as error:
            problems = [f"initdb could not be run: {error}"]
            break
        if answer.returncode == 0:
            return
        problems.append(answer.stderr)
        if "invalid locale" not in answer.stderr:
            break
    shutil.rmtree(target, ignore_errors=True)
    raise explain_failure("could not make the database", problems[-1])


def _initdb_arguments(launch: Launch, target: Path, locale: str, is_durable: bool) -> list[str]:  # noqa: FBT001 (private, called once)
    arguments = ["-D", str(target), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    if launch.binaries.major >= 17:
        # Sorting and case rules of PostgreSQL itself: the same on every machine.
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    arguments += [f"--locale={locale}", "--no-instructions"]
    if not is_durable:
        arguments.append("--no-sync")
    elif launch.binaries.major >= 17 and sys.platform == "linux":
        arguments.append("--sync-method=syncfs")  # one call in place of a thousand
    return arguments


def _write_as(launch: Launch, path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if os.geteuid() == 0:
        os.chown(path, launch.owner_uid, launch.owner_gid)
