"""Bench results: their schema, and that what is kept names no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.soak_memory import slope_with_error
from benches.support.machine import ROOT, describe_machine
from benches.support.result import (
    RESULTS_DIR,
    Bound,
    Result,
    at_least,
    at_most,
    figure,
    read_result,
    write_result,
)

KEPT = sorted(RESULTS_DIR.glob("*.json"))


def _result(value: float) -> Result:
    return Result(
        bench="sample",
        claim="A sample.",
        taken_at="2026-01-01T00:00:00Z",
        quick=True,
        commit="abc1234",
        machine=describe_machine(),
        versions={"python": "3.11"},
        renderer="cython",
        foreign_cores={"median": 0.0, "worst": 0.0},
        figures=[figure("rate", "k/s", [value, value + 1, value + 5], target=at_least(10))],
    )


def test_a_figure_is_the_median_of_its_runs() -> None:
    assert figure("rate", "", [5.0, 1.0, 3.0]).value == 3.0


@pytest.mark.parametrize(("bound", "kept", "broken"), [(at_least(2), 2, 1.9), (at_most(2), 2, 2.1)])
def test_a_bound_includes_its_own_value(bound: Bound, kept: float, broken: float) -> None:
    assert bound.holds(kept)
    assert not bound.holds(broken)


def test_one_missed_target_fails_the_result() -> None:
    assert _result(9).passed
    assert not _result(8).passed


def test_a_written_result_reads_back(tmp_path: Path) -> None:
    result = _result(9)
    assert read_result(write_result(result, tmp_path)) == result


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_a_kept_result_fits_the_schema_and_names_no_place(path: Path) -> None:
    result = read_result(path)
    assert result.bench == path.stem
    assert not result.quick
    assert str(ROOT) not in path.read_text(encoding="utf-8")


def test_a_slope_is_found_within_its_error() -> None:
    values = [100 + 3 * step + (-1) ** step for step in range(20)]
    slope, error = slope_with_error([float(value) for value in values])
    assert abs(slope - 3) <= 2 * error
    assert error < 0.1
