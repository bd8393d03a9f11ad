from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.support.websocket_echo import PATHS, hello_app
from tidewire.core.errors import SetupError
from tidewire.ports.transport import Refusal
from tidewire.server.listen import WebServer
from tidewire.transports.limits import SocketLimits


def make(host: str = "127.0.0.1", port: int = 0, **options: Any) -> WebServer:
    return WebServer(
        hello_app, lambda _request: Refusal(403), host=host, port=port, paths=PATHS, **options
    )


async def test_a_free_port_is_found_and_given_back() -> None:
    first, second = make(), make()
    host, port = await first.start()
    assert host == "127.0.0.1"
    assert port > 0
    await first.stop()
    await first.stop()
    second = make(port=port)
    assert (await second.start())[1] == port
    await second.stop()


async def test_a_taken_port_is_said_with_advice() -> None:
    first = make()
    _, port = await first.start()
    second = make(port=port)
    with pytest.raises(SetupError, match=rf"port {port} is taken.*\n.*--port"):
        await second.start()
    await second.stop()
    await first.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_said_with_advice(host: str) -> None:
    with pytest.raises(SetupError, match=f"cannot listen on {host}"):
        await make(host=host).start()


async def test_all_addresses_of_a_name_share_one_port() -> None:
    server = make(host="")
    _, port = await server.start()
    assert {listener.getsockname()[1] for listener in server._sockets} == {port}
    await server.stop()


async def test_accepted_sockets_have_the_small_send_buffer() -> None:
    server = make(limits=SocketLimits(sndbuf_bytes=32 << 10))
    await server.start()
    (listener,) = server._sockets
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 64 << 10
    await server.stop()


async def test_too_few_open_files_are_said_at_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tidewire.server.listen.raise_open_files", lambda: 1024)
    server = make()
    await server.start()
    await server.stop()
    assert "The limit of open files is 1024" in caplog.text
