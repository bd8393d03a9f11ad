"""Whether the compiled renderer is used: the one place that knows.

It is chosen at import when it is there; `use_python` lets a test, or the server by its
settings, go without it.
"""

from __future__ import annotations

from types import ModuleType

try:
    from tidewire.protocol.pgoutput import _render as _module
except ImportError:  # not built on this machine: the pure-Python twin gives the same bytes
    _found: ModuleType | None = None
else:
    _found = _module


class _Choice:
    """Holds the compiled module that is in use, or None."""

    def __init__(self) -> None:
        self.module = _found


choice = _Choice()


def use_python() -> None:
    """Render by the pure-Python twin from now on."""
    choice.module = None


def use_compiled() -> bool:
    """Render by the compiled module from now on if it is there; says whether it is."""
    choice.module = _found
    return _found is not None
