"""What PostgreSQL's programs say when they fail, turned into advice."""

from __future__ import annotations

import re

import msgspec

from tidewire.core.errors import SetupError

_TOLD_LINES_MAX = 4
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] ")
_FATAL = re.compile(r"\b(FATAL|PANIC|error):")


class _Pattern(msgspec.Struct, frozen=True):
    words: str
    advice: str


_PATTERNS = (
    _Pattern("No space left on device", "Free some space on the disk of the data folder."),
    _Pattern("Disk quota exceeded", "Free some space, or raise the quota of this user."),
    _Pattern("Read-only file system", "Choose a data folder that can be written to."),
    _Pattern("Permission denied", "Give the data folder back to the user that runs Tidewire."),
    _Pattern("could not create shared memory", "Raise the limits of shared memory."),
    _Pattern("could not resize shared memory", "Make /dev/shm larger (Docker: --shm-size)."),
    _Pattern("no user namespace", "Run Tidewire as an ordinary user."),
    _Pattern("Address already in use", "Another program holds the port; give another one."),
    _Pattern(
        "pre-existing shared memory block",
        "Processes of an earlier server still run on this folder; end them and start again.",
    ),
    _Pattern(
        "could not locate a valid checkpoint record",
        "The cluster is damaged: restore it from a backup.",
    ),
    _Pattern("lock file", "Another PostgreSQL runs on this data folder; stop it first."),
)


def explain_failure(what: str, output: str) -> SetupError:
    """An error that names the cause.

    Args:
        what: What failed, such as ``could not make the database``.
        output: Everything the program said.
    """
    advice = next((pattern.advice for pattern in _PATTERNS if pattern.words in output), "")
    lines = [_LOG_PREFIX.sub("", line.strip()) for line in output.splitlines() if line.strip()]
    ends = [place for place, line in enumerate(lines, 1) if _FATAL.search(line)]
    told = lines[: ends[-1]] if ends else lines
    said = "; ".join(told[-_TOLD_LINES_MAX:]) or "it said nothing"
    return SetupError(f"{what}: {said}", advice or "The log beside the data says more.")


def is_port_taken(output: str) -> bool:
    """Whether a start failed only because another program held the TCP port."""
    return "Address already in use" in output or "could not create any TCP/IP sockets" in output
