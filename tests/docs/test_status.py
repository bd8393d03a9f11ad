"""The page of the project's state names only what is there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, table_rows

PAGE = (ROOT / "docs/internals/status.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [row for row in table_rows(PAGE) if row[0] != "promise"]


def test_every_test_that_is_named_exists() -> None:
    assert len(TESTS) > 100
    absent = [
        f"{file}::{name}"
        for file, name in TESTS
        if not (ROOT / file).exists()
        or not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert absent == []


def test_no_cell_is_empty() -> None:
    assert ROWS
    assert [row for row in ROWS if len(row) != 4 or not all(row)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_every_place_that_is_named_exists(row: list[str]) -> None:
    places = re.findall(r"`([\w.\-]+/[\w./\-]*|[\w.\-]+\.(?:py|toml|md)|LICENSE)`", row[1])
    assert places, row
    assert [place for place in places if not (ROOT / place).exists()] == []
