"""The chart shows what the bench measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from benches import chart
from benches.support.program import print_results
from benches.support.result import Result, at_least, figure
from tests.docs.pages import ROOT


def a_result(**values: float) -> Result:
    names = {name for _, name, _ in chart.BARS}
    return msgspec.convert(
        {
            "bench": "latency_changes",
            "claim": "x",
            "taken_at": "2026-01-02T03:04:05Z",
            "quick": False,
            "commit": "abc1234",
            "machine": {"processor": "A <CPU>", "cores": 2, "memory_gb": 8.0, "system": "Linux"},
            "versions": {},
            "renderer": "cython",
            "foreign_cores": {"median": 0.0, "worst": 0.0},
            "figures": [
                msgspec.to_builtins(figure(name, "ms", [values.get(name, 1.5)])) for name in names
            ],
            "notes": [],
        },
        Result,
    )


def test_every_figure_stands_in_the_picture_with_its_method() -> None:
    result = a_result(**{"from COMMIT sent, p50": 1.23, "polling each 100 ms, p99": 98.7})
    root = ElementTree.fromstring(chart.draw(result))
    words = " ".join(element.text or "" for element in root.iter())
    for part in ("1.23 ms", "98.7 ms", "commit abc1234", "2 cores of A <CPU>", "Logarithmic"):
        assert part in words
    lengths = [float(e.get("width", 0)) for e in root.iter() if e.tag.endswith("rect")]
    assert lengths[0] < lengths[1] < lengths[3]


def test_gate_and_goal_are_both_reported(capsys: pytest.CaptureFixture[str]) -> None:
    both = figure("rate", "x", [0.72], target=at_least(0.7), goal=at_least(0.75))
    print_results([msgspec.structs.replace(a_result(), figures=[both])])
    head, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["bench", "figure", "target", "goal", "measured"]
    assert row == ["latency_changes", "rate", "≥", "0.7", "≥", "0.75", "0.72", "x", "pass"]


def test_without_a_result_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="scripts/bench latency_changes"):
        chart.main(tmp_path / "latency_changes.json", tmp_path / "out.svg")


@pytest.mark.skipif(not chart.PICTURE.exists(), reason="no chart is kept with the sources")
def test_the_chart_that_is_kept_is_that_of_the_result_that_is_kept(tmp_path: Path) -> None:
    chart.main(picture=tmp_path / "latency.svg")
    page = (ROOT / "README.md").read_text()
    assert (tmp_path / "latency.svg").read_text() == chart.PICTURE.read_text()
    assert "docs/assets/latency.svg" in page
