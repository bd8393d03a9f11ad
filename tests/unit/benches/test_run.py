"""The runner: it knows every bench program there is, and shows kept results without measuring."""

from __future__ import annotations

import importlib
import sys

import pytest

from benches import run
from benches.support.machine import ROOT

PROGRAMS = {
    path.stem
    for path in (ROOT / "benches").glob("*.py")
    if "def measure(" in path.read_text(encoding="utf-8")
}


def test_the_runner_lists_every_bench_program_once() -> None:
    assert sorted(run.BENCHES) == sorted(PROGRAMS)


@pytest.mark.parametrize("name", run.BENCHES)
def test_a_bench_says_what_it_claims_and_can_measure_it(name: str) -> None:
    module = importlib.import_module(f"benches.{name}")
    assert module.__doc__
    assert callable(module.measure)


def test_kept_results_are_shown_without_a_name_and_without_measuring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--kept"])
    run.main()
    assert "target" in capsys.readouterr().out


def test_an_unknown_bench_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "nonsense"])
    with pytest.raises(SystemExit) as refused:
        run.main()
    assert refused.value.code == 2
    assert "nonsense" in capsys.readouterr().err
