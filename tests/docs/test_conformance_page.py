"""The page of conformance covers the specification's sections, and names only tests there are."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, table_rows

PAGE = (ROOT / "docs/reference/conformance.md").read_text()
ROWS = [row for row in table_rows(PAGE) if row[0] != "section"]
STANDS = ("same", "better", "different", "not done")
# Sections of the specification that say what a server or its clients do. 10.3 to 15 say nothing
# of that kind: other clients that were not read, benchmarks, weak spots, a checklist.
SECTIONS = [
    *(f"1.{number}" for number in range(1, 9)),
    *(f"2.{number}" for number in range(1, 6)),
    *(f"3.{number}" for number in range(1, 14)),
    *(f"4.{number}" for number in range(1, 13)),
    *(f"5.{number}" for number in range(1, 5)),
    *(f"6.{number}" for number in range(1, 11)),
    *(f"7.{number}" for number in range(1, 6)),
    "8",
    *(f"9.{number}" for number in range(1, 5)),
    "10.1",
    "10.2",
]


def stand_of(row: list[str]) -> tuple[str, str]:
    stand, _, reason = row[2].partition(":")
    return stand.strip(), reason.strip()


def test_every_section_is_there_and_in_order() -> None:
    assert list(dict.fromkeys(row[0] for row in ROWS)) == SECTIONS


def test_no_cell_is_empty_and_no_statement_stands_twice() -> None:
    assert [row for row in ROWS if len(row) != 4 or not all(row)] == []
    assert len({(row[0], row[1]) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1][:40]}")
def test_a_row_says_how_it_stands_and_shows_it(row: list[str]) -> None:
    stand, reason = stand_of(row)
    assert stand in STANDS
    assert bool(reason) == (stand != "same"), "a reason, where it is not the same"
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[3])
    assert tests or stand == "not done"
    for file, name in tests:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), name
