"""A pytest plugin: the compiled renderer counts as not built, as where there is no compiler."""

import sys

# An entry of None makes Python's import raise ImportError for that name.
sys.modules["tidewire.protocol.pgoutput._render"] = None  # pyright: ignore[reportArgumentType] - documented use
