"""What a bench hands back: figures with their bounds, and where they were measured."""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

RESULTS_DIR = Path(__file__).resolve().parent.parent / "results"


class Bound(msgspec.Struct, frozen=True, omit_defaults=True):
    """A limit to keep; exactly one side is set."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` keeps the limit."""
        if self.at_least is not None:
            return value >= self.at_least
        assert self.at_most is not None
        return value <= self.at_most

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


def at_least(value: float) -> Bound:
    """A figure that must not be smaller."""
    return Bound(at_least=value)


def at_most(value: float) -> Bound:
    """A figure that must not be larger."""
    return Bound(at_most=value)


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured number.

    Attributes:
        name: What was measured, for people.
        unit: Its unit; "" for a ratio.
        value: Median of `runs`.
        runs: Each repetition's own value.
        target: What must be reached; None for a figure that only gives scale.
        goal: What the design aims at beyond the target.
    """

    name: str
    unit: str
    value: float
    runs: list[float]
    target: Bound | None = None
    goal: Bound | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return None if self.target is None else self.target.holds(self.value)


def figure(
    name: str,
    unit: str,
    runs: list[float],
    *,
    target: Bound | None = None,
    goal: Bound | None = None,
) -> Figure:
    """A figure from its repetitions."""
    rounded = [float(f"{run:.4g}") for run in runs]
    return Figure(name, unit, float(f"{statistics.median(runs):.4g}"), rounded, target, goal)


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured. Names no host and no path."""

    processor: str
    cores: int
    memory_gb: float
    system: str


class Result(msgspec.Struct, frozen=True):
    """One run of one bench.

    Attributes:
        bench: Its file's name without the ending.
        claim: The sentence that it tests.
        taken_at: UTC, RFC 3339.
        quick: Shorter runs than a figure to quote should rest on.
        commit: Short id of the measured source, with ``+`` when the tree had changes.
        versions: Of Python, of Tidewire and of what it stands on.
        renderer: Which row renderer ran: ``cython`` or ``python``.
        foreign_cores: Cores kept busy by other programs meanwhile: median and worst run.
        figures: What was measured.
        notes: Anything that a reader must know to judge the figures.
    """

    bench: str
    claim: str
    taken_at: str
    quick: bool
    commit: str
    machine: Machine
    versions: dict[str, str]
    renderer: str
    foreign_cores: dict[str, float]
    figures: list[Figure]
    notes: list[str] = []

    @property
    def passed(self) -> bool:
        """Whether every figure with a target reaches it."""
        return all(one.passed is not False for one in self.figures)


def write_result(result: Result, folder: Path = RESULTS_DIR) -> Path:
    """Write `result` as readable JSON to ``<folder>/<bench>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.bench}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return path


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        msgspec.ValidationError: It is not one.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result)
