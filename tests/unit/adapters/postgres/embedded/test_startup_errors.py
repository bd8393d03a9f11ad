"""What is said when a program of PostgreSQL fails."""

from __future__ import annotations

import pytest

from tidewire.adapters.postgres.embedded.startup_errors import explain_failure, is_port_taken

PREFIX = "2026-11-22 18:27:10.119 UTC [19952] "


def test_the_lines_up_to_the_fatal_one_are_told_without_their_prefix() -> None:
    output = f"{PREFIX}LOG:  invalid value\n{PREFIX}FATAL:  errors in the file\n{PREFIX}LOG:  bye\n"
    problem = explain_failure("it did not start", output).problem
    assert problem == "it did not start: LOG:  invalid value; FATAL:  errors in the file"


def test_silence_is_told() -> None:
    assert "it said nothing" in explain_failure("x", "").problem


def test_a_long_output_is_cut_to_its_end() -> None:
    error = explain_failure("x", "\n".join(f"line {number}" for number in range(50)))
    assert "line 49" in error.problem
    assert "line 20" not in error.problem


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("initdb: error: could not write: No space left on device", "space"),
        ("[Errno 13] Permission denied: '/x'", "back to the user"),
        ("FATAL: could not resize shared memory segment", "--shm-size"),
        ("no user namespace: Operation not permitted", "ordinary user"),
        ("something else", "log"),
    ],
)
def test_each_cause_has_its_advice(words: str, advice: str) -> None:
    assert advice in explain_failure("x", words).advice


def test_a_taken_port_is_told_from_other_faults() -> None:
    assert is_port_taken("LOG: could not bind IPv4 address: Address already in use")
    assert not is_port_taken("FATAL: out of memory")
