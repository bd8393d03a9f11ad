"""The command line that every bench program has, and what it hands its measurement."""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import statistics
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from benches.support.compiler import NoCompilerError
from benches.support.foreign import WORTH_SAYING_CORES, ForeignLoad
from benches.support.load import LoadFailedError
from benches.support.machine import (
    BUILD_DIR,
    describe_commit,
    describe_machine,
    describe_versions,
    renderer_name,
)
from benches.support.result import RESULTS_DIR, Figure, Result, write_result
from benches.support.servers import ServerFailedError, allow_many_files

QUICK_RESULTS_DIR = BUILD_DIR / "results"
EXIT_MISSED = 1
EXIT_NOT_MEASURED = 3
EXIT_TERMINATED = 143
TRIES = 3
_WIDTH = 130

T = TypeVar("T")


class Lab:
    """What a measurement works with.

    Attributes:
        quick: Short runs, to see that all works and roughly where it stands.
        repetitions: How often each figure is taken; the median counts.
        seconds: Measured time of one run.
        warm_up_s: Time before it.
        notes: Sentences for the result.
    """

    def __init__(self, *, quick: bool, minutes: float | None = None) -> None:
        self.quick = quick
        self.minutes = minutes
        self.repetitions = 3 if quick else 5
        self.seconds = 1.0 if quick else 3.0
        self.warm_up_s = 0.5 if quick else 1.0
        self.notes: list[str] = []
        self._foreign: list[float] = []
        self._console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Tell a watcher what goes on."""
        self._console.print(f"  [dim]{text}[/dim]")

    def repeat(
        self,
        what: str,
        own_processes: Callable[[], Iterable[int]],
        run: Callable[[], T],
        *,
        times: int | None = None,
    ) -> list[T]:
        """Take `run` until enough repetitions were undisturbed by other programs.

        Gives up at `TRIES` times as many and keeps those that were disturbed least: chosen by
        the foreign load, never by what came out.

        Args:
            what: Says what is measured.
            own_processes: Ids of the measured processes.
            run: One repetition.
            times: How many; `repetitions` by default.
        """
        wanted = times or self.repetitions
        seen: list[tuple[float, int, T]] = []
        for number in range(wanted * TRIES):
            foreign = ForeignLoad(own_processes)
            foreign.start()
            outcome = run()
            seen.append((foreign.stop(), number, outcome))
            clean = sum(cores < WORTH_SAYING_CORES for cores, _, _ in seen)
            self.say(f"{what}: {clean} of {wanted} undisturbed, {number + 1} tried")
            if clean == wanted:
                break
        kept = sorted(seen, key=lambda one: one[:2])[:wanted]
        self._note_foreign(what, [cores for cores, _, _ in kept])
        return [outcome for _, _, outcome in kept]

    @contextmanager
    def watch(self, own_processes: Callable[[], Iterable[int]], what: str) -> Generator[None]:
        """Notice, record and say what other programs use of the machine meanwhile."""
        foreign = ForeignLoad(own_processes)
        foreign.start()
        yield
        self._note_foreign(what, [foreign.stop()])

    def _note_foreign(self, what: str, cores: list[float]) -> None:
        self._foreign += [round(one, 2) for one in cores]
        if max(cores) >= WORTH_SAYING_CORES:
            self._console.print(
                f"  [yellow]{what}: other programs used up to {max(cores):.2f} cores[/yellow]"
            )

    def foreign_cores(self) -> dict[str, float]:
        """Median and worst of all watched runs."""
        seen = self._foreign or [0.0]
        return {"median": round(statistics.median(seen), 2), "worst": max(seen)}


Measure = Callable[[Lab], list[Figure]]


def run_program(bench: str, description: str | None, measure: Measure) -> None:
    """Parse the command line, measure, print, write the result, exit.

    Args:
        bench: Its file's name without the ending.
        description: The file's docstring; its first paragraph is the claim.
        measure: Takes the figures.

    Exits 0 when every target is reached, 1 when one is missed, 3 when it could not be measured.
    """
    claim = " ".join((description or bench).split("\n\n")[0].split())
    arguments = _parse(claim)
    # Ended from outside, it still stops the servers and generators that it started.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(EXIT_TERMINATED))
    allow_many_files()
    if arguments.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, arguments.nice)
    lab = Lab(quick=arguments.quick, minutes=arguments.minutes)
    if arguments.nice is not None:
        lab.notes.append(f"server, database and generator ran at nice {arguments.nice}")
    try:
        figures = measure(lab)
    except (NoCompilerError, ServerFailedError, LoadFailedError) as error:
        print(f"{bench}: not measured: {error}", file=sys.stderr)
        sys.exit(EXIT_NOT_MEASURED)
    result = Result(
        bench=bench,
        claim=claim,
        taken_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        quick=lab.quick,
        commit=describe_commit(),
        machine=describe_machine(),
        versions=describe_versions(),
        renderer=renderer_name(),
        foreign_cores=lab.foreign_cores(),
        figures=figures,
        notes=lab.notes,
    )
    write_result(result, results_folder(quick=lab.quick))
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        print_results([result])
    sys.exit(0 if result.passed else EXIT_MISSED)


def results_folder(*, quick: bool) -> Path:
    """Where results go: only full runs are worth keeping beside the sources."""
    return QUICK_RESULTS_DIR if quick else RESULTS_DIR


def print_results(results: Iterable[Result]) -> None:
    """A table of every figure with its target."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("bench", "figure"):
        table.add_column(name, no_wrap=True)
    for name in ("target", "goal", "measured"):
        table.add_column(name, justify="right")
    table.add_column("")
    for result in results:
        for one in result.figures:
            table.add_row(
                result.bench,
                one.name,
                str(one.target or ""),
                str(one.goal or ""),
                f"{one.value:g} {one.unit}".strip(),
                {True: "[green]pass[/]", False: "[red]MISSED[/]", None: ""}[one.passed],
            )
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def _parse(claim: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=claim)
    parser.add_argument("--quick", action="store_true", help="shorter runs, for a first look")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--nice",
        type=int,
        help="priority of all that is measured; below 0 (as root) on a machine that others use",
    )
    parser.add_argument(
        "--minutes", type=float, help="length of a soak; other benches take no notice"
    )
    return parser.parse_args()
