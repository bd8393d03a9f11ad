"""Runs bench programs one after the other and prints one table of all their figures.

Each is its own process, so that none inherits another's memory or open files.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from benches.support.machine import ROOT
from benches.support.program import (
    EXIT_MISSED,
    EXIT_NOT_MEASURED,
    EXIT_TERMINATED,
    print_results,
)
from benches.support.result import RESULTS_DIR, Result, read_result

BENCHES = (
    "latency_changes",
    "change_cost",
    "journal",
    "policy_throughput",
    "row_security",
    "fanout",
    "heartbeats",
    "connect_join",
    "token_refresh",
    "private_joins",
    "memory_idle",
    "loop_blocking",
    "slow_readers",
    "startup",
    "idle",
    "asked_load",
    "soak_memory",
)


def main() -> None:
    arguments = _parse()
    if arguments.kept:
        print_results(read_result(path) for path in sorted(RESULTS_DIR.glob("*.json")))
        return
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(EXIT_TERMINATED))
    results: list[Result] = []
    exit_code = 0
    for name in arguments.names or BENCHES:
        print(f"> {name}", file=sys.stderr, flush=True)
        code, result = _run(name, _passed_on(arguments))
        exit_code = max(exit_code, code)
        if result is not None:
            results.append(result)
    if arguments.json:
        print(msgspec.json.encode(results).decode())
    else:
        print_results(results)
    sys.exit(exit_code)


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    options = ["--quick"] if arguments.quick else []
    for name in ("nice", "minutes"):
        value = getattr(arguments, name)
        options += [f"--{name}", str(value)] if value is not None else []
    return options


def _run(name: str, options: list[str]) -> tuple[int, Result | None]:
    command = [sys.executable, "-m", f"benches.{name}", "--json", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            output = program.communicate()[0]
        finally:
            program.terminate()  # nothing when it has ended; else it stops what it started
    try:
        result = msgspec.json.decode(output.strip().rpartition("\n")[2], type=Result)
    except msgspec.DecodeError:
        return program.returncode or EXIT_NOT_MEASURED, None
    return program.returncode, result


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure what Tidewire promises, on this machine.",
        epilog=f"Exit codes: 0 every target reached, {EXIT_MISSED} one missed, "
        f"{EXIT_NOT_MEASURED} one not measured.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(BENCHES)}"
    )
    parser.add_argument(
        "--kept", action="store_true", help="measure nothing, show what benches/results holds"
    )
    parser.add_argument("--quick", action="store_true", help="shorter runs, for a first look")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--minutes", type=float, help="length of soak_memory")
    parser.add_argument("--nice", type=int, help="priority of all that is measured")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no such bench: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    return arguments


if __name__ == "__main__":
    assert Path.cwd() == ROOT, "run scripts/bench"
    main()
