"""The sniffer with a socket of paper; real sockets: tests/integration/websocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from tests.support.websocket_client import TEXT, client_frame, upgrade_head
from tests.support.websocket_echo import PATHS, Echo, hello_app
from tidewire.server.forwarded import TrustedProxies
from tidewire.server.sniff import bound_sniffer, share_live
from tidewire.server.upgrades import Upgrades
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import Closable, SocketGroup


class PaperSocket(asyncio.Transport):
    """Keeps what is written and gives data to whoever has the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        pass


def connect() -> PaperSocket:
    state = ServerState()
    live: set[Closable] = set()
    share_live(state, live)
    group = SocketGroup(
        SocketLimits(),
        loop=asyncio.get_running_loop(),
        live=live,
        on_slow_consumer=lambda: None,
    )
    upgrades = Upgrades(lambda _request: Echo, paths=PATHS, group=group, proxies=TrustedProxies())
    sniffer = bound_sniffer(upgrades)(Config(hello_app, log_config=None), state, {})
    paper = PaperSocket()
    paper.protocol = sniffer
    sniffer.connection_made(paper)
    return paper


REQUEST = upgrade_head() + client_frame(TEXT, b"hello")


@pytest.mark.parametrize("cut", range(1, len(REQUEST)))
async def test_an_upgrade_may_be_cut_anywhere(cut: int) -> None:
    paper = connect()
    for part in (REQUEST[:cut], REQUEST[cut : cut + 1], REQUEST[cut + 1 :]):
        paper.protocol.data_received(part)
    head, _, rest = paper.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest == b"\x81\x05hello"
    paper.protocol.connection_lost(None)


async def test_a_bare_line_feed_is_refused_before_the_head_is_whole() -> None:
    paper = connect()
    paper.protocol.data_received(b"GET /echo HTTP/1.1\r\nHost: x")
    assert paper.written == b""
    paper.protocol.data_received(b"\n")
    assert paper.written.startswith(b"HTTP/1.1 400 ")
    paper.protocol.connection_lost(None)
