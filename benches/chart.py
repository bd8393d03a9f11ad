"""Draws docs/assets/latency.svg from benches/results/latency_changes.json.

Run it after the bench: `.venv/bin/python -m benches.chart`. Bars on a logarithmic scale: how long
from COMMIT to the frame in a client, and how long until plain polling finds the same row. What is
shown, where it was measured and at which commit stands in the picture.
"""

from __future__ import annotations

import math
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import msgspec

from benches.support.machine import ROOT
from benches.support.result import RESULTS_DIR, Result

SOURCE = RESULTS_DIR / "latency_changes.json"
PICTURE = ROOT / "docs" / "assets" / "latency.svg"

TITLE = "From COMMIT to the frame in a client"
BARS = (
    ("Tidewire, half of them within", "from COMMIT sent, p50", True),
    ("Tidewire, 99 of 100 within", "from COMMIT sent, p99", True),
    ("polling each 100 ms, half", "polling each 100 ms, p50", False),
    ("polling each 100 ms, 99 of 100", "polling each 100 ms, p99", False),
)
SCALE_MS = (0.5, 200.0)
TICKS_MS = (1, 10, 100)
WIDTH, LABELS, ROW, TOP = 720, 230, 34, 56
PLOT = WIDTH - LABELS - 70

# Greys and a blue that can be read on white and on dark pages alike.
OURS, SCALE, INK, LINE = "#2f81f7", "#8b949e", "#6e7781", "#8b949e40"


class Bar(NamedTuple):
    """One bar: what it shows, how many milliseconds, and whether it is ours."""

    label: str
    value_ms: float
    is_ours: bool


def bars_of(result: Result) -> list[Bar]:
    """The bars of a result; a figure that is missing raises KeyError."""
    values = {figure.name: figure.value for figure in result.figures}
    return [Bar(label, values[name], is_ours) for label, name, is_ours in BARS]


def draw(result: Result) -> str:
    """The picture as SVG text."""
    bars = bars_of(result)
    height = TOP + ROW * len(bars) + 62
    rows = [line for number, bar in enumerate(bars) for line in _row(number, bar)]
    machine = result.machine
    method = (
        "100 changes/s to 100 subscribers of one table, database and flush to disk included;",
        f"medians of runs on {machine.cores} cores of {machine.processor}, commit {result.commit}."
        " Logarithmic scale.",
    )
    foot = TOP + ROW * len(bars) + 36
    notes = [_text(0, foot + 16 * number, line, INK, 12) for number, line in enumerate(method)]
    ticks = [line for tick in TICKS_MS for line in _tick(tick, TOP + ROW * len(bars))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            f' font-family="system-ui, sans-serif"><title>{escape(TITLE)}</title>',
            _text(0, 20, TITLE, INK, 16, weight="600"),
            *ticks,
            *rows,
            *notes,
            "</svg>\n",
        ]
    )


def _place(value_ms: float) -> float:
    """Pixels from the left of the plot."""
    low, high = map(math.log10, SCALE_MS)
    share = (math.log10(value_ms) - low) / (high - low)
    return round(PLOT * min(max(share, 0.01), 1.0), 1)


def _row(number: int, bar: Bar) -> list[str]:
    y = TOP + ROW * number
    length = _place(bar.value_ms)
    colour = OURS if bar.is_ours else SCALE
    return [
        _text(LABELS - 10, y + 17, bar.label, INK, 13, anchor="end"),
        f'<rect x="{LABELS}" y="{y}" width="{length}" height="24" rx="3" fill="{colour}"/>',
        _text(LABELS + length + 8, y + 17, f"{bar.value_ms:.3g} ms", INK, 13),
    ]


def _tick(value_ms: float, bottom: int) -> list[str]:
    x = LABELS + _place(value_ms)
    return [
        f'<line x1="{x}" y1="{TOP - 12}" x2="{x}" y2="{bottom}" stroke="{LINE}"/>',
        _text(x, TOP - 16, f"{value_ms:g} ms", INK, 11, anchor="middle"),
    ]


def _text(
    x: float,
    y: float,
    words: str,
    colour: str,
    size: int,
    *,
    anchor: str = "start",
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}"'
        f' text-anchor="{anchor}">{escape(words)}</text>'
    )


def main(source: Path = SOURCE, picture: Path = PICTURE) -> None:
    """Draw; exit code 1 when the bench was not run."""
    if not source.exists():
        sys.exit(f"{source.name} is missing: run scripts/bench latency_changes first")
    result = msgspec.json.decode(source.read_bytes(), type=Result)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(draw(result))
    print(f"{picture.relative_to(ROOT) if picture.is_relative_to(ROOT) else picture}")


if __name__ == "__main__":
    main()
