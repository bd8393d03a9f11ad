"""Runs the groups of tests one after another, and tells what each took and gave.

Called by `scripts/test`, which installs things first. Exit code 0 when every group passed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICK = "not fault and not soak"
COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed|deselected)")
CLOSING_LINE = re.compile(r"^=* ?((?:\d+ \w+(?:, )?)+ in [\d.:hms() ]+|no tests ran in .*?) ?=*$")


@dataclass(frozen=True)
class Group:
    """One row of the table.

    Attributes:
        name: What it is called on the command line.
        about: One line for --list.
        pytest: Arguments to pytest; empty for another `program`.
        program: What to run instead of pytest.
        parallel: Whether its tests may run in two processes.
        sample: At most so many parameter sets of each test, unless --all.
        minutes_max: Ended as failed after this long (without --all).
    """

    name: str
    about: str
    pytest: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    parallel: bool = False
    sample: int = 0
    minutes_max: float = 10


@dataclass
class Result:
    """What a group gave."""

    group: Group
    seconds: float
    passed: bool
    closing_line: str = ""
    counts: Counter[str] = field(default_factory=Counter[str])


INTEGRATION = ("websocket", "postgres", "stream")
GROUPS = (
    Group("check", "format, lint, types, import contracts", program=("scripts/check",)),
    Group(
        "unit",
        "pure rules, state machines, the client; no database",
        ("tests/unit", "tests/architecture", "-m", QUICK),
        parallel=True,
    ),
    Group(
        "python-renderer",
        "the renderer's tests without the compiled module",
        (*("-p", "tests.support.python_renderer"), "tests/unit/protocol/pgoutput", "-m", QUICK),
    ),
    Group("ports", "the contract of each port, on every adapter", ("tests/ports", "-m", QUICK)),
    *(
        Group(name, about, (f"tests/integration/{name}", "-m", QUICK), parallel=True)
        for name, about in (
            ("websocket", "the socket layer against real sockets"),
            ("postgres", "embedded PostgreSQL, migrations, catalogue"),
            ("stream", "the replication stream against a real PostgreSQL"),
        )
    ),
    Group(
        "integration",
        "everything else that needs sockets or a database",
        (
            "tests/integration",
            *(f"--ignore=tests/integration/{name}" for name in INTEGRATION),
            *("-m", QUICK),
        ),
        parallel=True,
    ),
    Group(
        "conformance",
        "unmodified supabase-js and supabase-py against the real server",
        ("tests/conformance", "-m", QUICK),
        parallel=True,
        minutes_max=12,
    ),
    Group(
        "docs",
        "the documentation: every example, link, code and promise",
        ("tests/docs", "-m", QUICK),
    ),
    Group(
        "fault",
        "killed and restarted servers and databases",
        ("tests", "-m", "fault and not soak", "--timeout=120"),
        sample=1,
    ),
    Group("soak", "long runs", ("tests", "-m", "soak", "--timeout=300"), sample=1),
)


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    names = [group.name for group in GROUPS]
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(names))
    parser.add_argument("--all", action="store_true", help="the long groups in full")
    parser.add_argument("--list", action="store_true", help="name the groups and end")
    own, for_pytest = _split(sys.argv[1:])
    arguments = parser.parse_args(own)
    unknown = set(arguments.groups) - set(names)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    if arguments.list:
        for group in GROUPS:
            print(f"{group.name:<17}{group.about}")
        return 0
    chosen = [group for group in GROUPS if not arguments.groups or group.name in arguments.groups]
    results = [run(group, everything=arguments.all, more=for_pytest) for group in chosen]
    tell(results)
    return 0 if all(result.passed for result in results) else 1


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is ours and, after ``--``, what is for pytest."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


def command_of(group: Group, *, everything: bool, more: list[str]) -> list[str]:
    """What to run for a group."""
    if group.program:
        return list(group.program)
    command = [sys.executable, "-m", "pytest", "-q", *group.pytest]
    if group.parallel:
        command += ["-n", "2", "--dist", "loadfile"]
    if group.sample and not everything:
        command += ["-p", "tests.support.sampling", f"--sample={group.sample}"]
    return command + more


def run(group: Group, *, everything: bool, more: list[str]) -> Result:
    """Run one group, passing its output on as it comes."""
    print(f"\n=== {group.name}: {group.about}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen(
        command_of(group, everything=everything, more=more),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    limit_s = 86_400.0 if everything else group.minutes_max * 60
    timer = threading.Timer(limit_s, end, (process, f"longer than {group.minutes_max} minutes"))
    timer.start()
    try:
        closing_line = pass_on(process)
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            end(process, "interrupted")
    return judge(group, time.monotonic() - started, code, closing_line)


def pass_on(process: subprocess.Popen[str]) -> str:
    """Print what the process says; gives pytest's own closing line, if it said one."""
    assert process.stdout is not None
    closing_line = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        found = CLOSING_LINE.match(line.strip())
        if found:
            closing_line = found[1]
    return closing_line


def end(process: subprocess.Popen[str], why: str) -> None:
    """End a group and everything that it started."""
    print(f"group ended: {why}", flush=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def judge(group: Group, seconds: float, code: int, closing_line: str) -> Result:
    """What a group's exit code and closing line come to."""
    if group.program:
        counts = Counter({"passed" if code == 0 else "failed": 1})
        return Result(group, seconds, code == 0, "", counts)
    counts = Counter[str]()
    for number, word in COUNT.findall(closing_line):
        counts["failed" if word.startswith("error") else word] += int(number)
    if code and not counts["failed"]:
        counts["failed"] += 1  # it broke off: nothing collected, ended by a signal or the limit
        closing_line = f"ended with code {code}: {closing_line or 'no closing line'}"
    return Result(group, seconds, code == 0, closing_line, counts)


def tell(results: list[Result]) -> None:
    """The table, pytest's own closing lines, and the sum as the last line."""
    print(f"\n{'group':<17}{'result':<9}{'time':>8}")
    for result in results:
        word = "passed" if result.passed else "FAILED"
        print(f"{result.group.name:<17}{word:<9}{result.seconds:7.1f}s")
    print(f"{'all':<26}{sum(result.seconds for result in results):7.1f}s\n")
    for result in results:
        if result.closing_line:
            print(f"{result.group.name:<17}{result.closing_line}")
    total = sum((result.counts for result in results), Counter[str]())
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    sys.exit(main())
