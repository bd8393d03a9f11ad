from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.websocket_echo import LOOPS, ServerThread
from tidewire.transports.limits import SocketLimits


@pytest.fixture(scope="session", params=sorted(LOOPS))
def echo_server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    """An echo server on each kind of event loop, shared: tests leave it as they found it."""
    limits = SocketLimits(max_message_bytes=1 << 20, write_buffer_bytes=8 << 20)
    with ServerThread(loop=request.param, limits=limits) as server:
        yield server
        assert server.errors == []
