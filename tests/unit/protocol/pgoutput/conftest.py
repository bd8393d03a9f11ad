"""Runs a test once by each renderer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tidewire.protocol.pgoutput import compiled


@pytest.fixture(params=["cython", "python"])
def renderer(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "python":
        compiled.use_python()
    elif not compiled.use_compiled():
        pytest.skip("the compiled renderer is not built here")
    yield request.param
    compiled.use_compiled()
