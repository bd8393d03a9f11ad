from __future__ import annotations

import importlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.protocol.websocket import masking


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_python_and_c_unmask_alike(data: bytes, mask: bytes) -> None:
    expected = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    assert masking.unmask_in_python(data, mask) == expected
    assert masking.unmask(data, mask) == expected


def test_without_the_c_routine_python_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    try:
        fresh = importlib.reload(masking)
        assert fresh.unmask is fresh.unmask_in_python
    finally:
        monkeypatch.undo()
        importlib.reload(masking)
