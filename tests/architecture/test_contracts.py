"""The house rules hold, and the tool that checks them sees a planted fault."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tidewire"
LINES_MAX = 400


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy_of_the_house(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "src" / "tidewire")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/lsn.py", "from tidewire.engine import limits", "Every arrow points down"),
        ("engine/limits.py", "import tidewire.adapters.memory", "Every arrow points down"),
        ("core/lsn.py", "import asyncio", "The ground floors touch no socket"),
        (
            "core/lsn.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tidewire.ports",
            "Every arrow points down",
        ),
    ],
)
def test_a_planted_upward_import_breaks_its_contract(copy_of_the_house, file, line, contract):
    path = copy_of_the_house / "src" / "tidewire" / file
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint_imports(copy_of_the_house)
    assert result.returncode != 0
    assert any(contract in row and "BROKEN" in row for row in result.stdout.splitlines())


def tracked_files() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_source_file_is_longer_than_a_sitting():
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked_files()
        if path.suffix in (".py", ".ts", ".tsx") and "tests" not in path.parts
        if (count := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_every_folder_says_what_belongs_there():
    for package in SOURCE.rglob("__init__.py"):
        assert package.read_text().startswith('"""'), package


def test_lock_files_and_texts_name_no_download_host():
    host = re.compile(r"registry\.npm[j]s|py[p]i\.org|python[h]osted|deb\.de[b]ian")
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        assert not host.search(text), path
