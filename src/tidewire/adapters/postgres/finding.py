"""Something found about a database that a person should know or mend."""

from __future__ import annotations

from typing import Literal

import msgspec

from tidewire.core.errors import DatabaseUnavailableError, RealtimeError, SetupError

Severity = Literal["error", "warning"]

_PASSING = frozenset(
    {"timeout", "connection_lost", "connection_refused", "starting_up", "too_many_connections"}
)


class Finding(msgspec.Struct, frozen=True):
    """One finding.

    Attributes:
        code: Stable name, such as ``wal_level``.
        severity: An error keeps Tidewire from working; a warning takes something away.
        problem: What is so, as a sentence.
        advice: What to do about it; "" when there is nothing to do.
    """

    code: str
    severity: Severity
    problem: str
    advice: str = ""

    def to_error(self) -> RealtimeError:
        """As an exception: `DatabaseUnavailableError` where waiting may help, else `SetupError`."""
        if self.code in _PASSING:
            return DatabaseUnavailableError(f"{self.problem}\n{self.advice}".strip())
        return SetupError(self.problem, self.advice)
