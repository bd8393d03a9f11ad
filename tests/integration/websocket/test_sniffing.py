"""Which bytes become a WebSocket, which become HTTP, and which are refused."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server, ServerState

from tests.support.websocket_client import (
    CLOSE,
    PING,
    TEXT,
    Client,
    Frame,
    client_frame,
    close_payload,
    upgrade_head,
)
from tests.support.websocket_echo import LOOPS, Echo, ServerThread
from tidewire.ports.transport import Accept, Refusal, Transport, UpgradeRequest
from tidewire.transports.limits import SocketLimits

HELLO = client_frame(TEXT, b"hello")


def assert_echoes(client: Client) -> None:
    client.send(HELLO)
    assert client.frame() == Frame(TEXT, b"hello")


# ------------------------------------------------------------------ what is accepted


@pytest.mark.parametrize("chop", [None, 1, 50])
def test_a_head_may_come_in_pieces_with_frames_behind_it(
    echo_server: ServerThread, chop: int | None
) -> None:
    with Client(echo_server.address) as client:
        client.send(upgrade_head() + HELLO + client_frame(PING, b"p") + HELLO[:3], chop=chop)
        assert client.response()[0].endswith("101 Switching Protocols")
        assert client.frame() == Frame(TEXT, b"hello")
        assert client.frame() == Frame(10, b"p")
        client.send(HELLO[3:])
        assert client.frame() == Frame(TEXT, b"hello")


def test_the_key_is_proven_as_in_the_rfc(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        headers = client.upgrade()
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["connection"].lower() == "upgrade"
    assert headers["upgrade"].lower() == "websocket"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(upgrade_head(connection="Upgrade"), id="plain"),
        pytest.param(upgrade_head(connection="keep-alive, Upgrade"), id="firefox"),
        pytest.param(upgrade_head(upgrade="WebSocket", connection="UPGRADE"), id="upper-case"),
        pytest.param(upgrade_head(content_length="0"), id="empty-body"),
        pytest.param(upgrade_head("http://example.test/echo?x=1"), id="absolute-form"),
        pytest.param(upgrade_head("/%65cho"), id="escaped-path"),
        pytest.param(upgrade_head(sec_websocket_protocol="a, b"), id="subprotocols-declined"),
    ],
)
def test_upgrades_are_taken(echo_server: ServerThread, head: bytes) -> None:
    with Client(echo_server.address) as client:
        headers = client.upgrade(head)
        assert "sec-websocket-protocol" not in headers
        assert_echoes(client)


def test_the_request_is_told_to_the_acceptor() -> None:
    with ServerThread() as server, Client(server.address) as client:
        head = upgrade_head(
            "/realtime/v1/websocket?apikey=a%20b+c&vsn=1.0.0&vsn=2.0.0&empty=", x_tag="one"
        ).replace(b"x-tag: one\r\n", b"x-tag: one\r\nX-TAG:\t two \r\n")
        client.upgrade(head)
        (request,) = server.requests
    assert request.path == "/realtime/v1/websocket"
    assert request.query == {"apikey": "a b c", "vsn": "2.0.0", "empty": ""}
    assert request.headers["x-tag"] == "one, two"
    assert request.headers["host"] == "example.test"
    assert request.peer == "127.0.0.1"


def test_a_forwarded_address_counts_from_a_trusted_proxy_only() -> None:
    head = upgrade_head(x_forwarded_for="6.6.6.6, 10.1.2.3")
    for trusted, peer in (((), "127.0.0.1"), (("127.0.0.0/8",), "10.1.2.3")):
        with ServerThread(trusted_proxies=trusted) as server, Client(server.address) as client:
            client.upgrade(head)
            assert server.requests[0].peer == peer
            with Client(server.address) as http:
                http.send(b"GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.1.2.3\r\n")
                http.send(b"Connection: close\r\n\r\n")
                assert http.receive_all().endswith(f"GET /a {peer} 0".encode())


# ------------------------------------------------------------------ HTTP


def test_http_passes_by_with_its_body(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        request = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        client.send(request + b"x" * 100_000)
        assert client.response()[0] == "HTTP/1.1 200 OK"
        client.send(b"GET /q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.receive_all().endswith(b"GET /q 127.0.0.1 0")


def test_a_later_request_of_a_kept_connection_may_be_an_upgrade(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response()[0] == "HTTP/1.1 200 OK"
        body = b"GET /first 127.0.0.1 0"
        while len(client.buffer) < len(body):
            client.buffer += client.receive()
        assert client.buffer == body
        client.buffer = b""
        client.upgrade()
        assert_echoes(client)


def test_an_upgrade_sent_ahead_of_an_answer_is_not_granted(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade_head())
        answer = client.receive_all()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"101" not in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_an_offer_of_http_2_is_served_as_http_1(
    echo_server: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(echo_server.address) as client:
        client.send(
            b"GET /h2c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        assert client.response()[0] == "HTTP/1.1 200 OK"
    assert not caplog.records


# ------------------------------------------------------------------ what is refused

GET = b"GET /echo HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(upgrade_head(sec_websocket_version="8"), 426, id="version-8"),
        pytest.param(upgrade_head(sec_websocket_version=None), 400, id="no-version"),
        pytest.param(upgrade_head(sec_websocket_key=None), 400, id="no-key"),
        pytest.param(upgrade_head(sec_websocket_key="AAAA"), 400, id="short-key"),
        pytest.param(upgrade_head(sec_websocket_key="!" * 22 + "=="), 400, id="key-not-base64"),
        pytest.param(upgrade_head(connection="keep-alive"), 400, id="connection"),
        pytest.param(upgrade_head(connection=None), 400, id="no-connection"),
        pytest.param(upgrade_head(host=None), 400, id="no-host"),
        pytest.param(upgrade_head(content_length="5") + b"12345", 400, id="body"),
        pytest.param(upgrade_head(transfer_encoding="chunked"), 400, id="chunked"),
        pytest.param(upgrade_head().replace(b"GET", b"POST"), 400, id="post"),
        pytest.param(upgrade_head().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, id="http-1.0"),
        pytest.param(upgrade_head().replace(GET, GET + b"Host: b\r\n"), 400, id="two-hosts"),
        pytest.param(
            upgrade_head().replace(GET, GET + b"Upgrade: h2c\r\n"), 400, id="two-upgrades"
        ),
        pytest.param(upgrade_head().replace(GET, GET + b"A: b\r\n c\r\n"), 400, id="folded-line"),
        pytest.param(upgrade_head().replace(GET, GET + b"A : b\r\n"), 400, id="blank-in-name"),
        pytest.param(upgrade_head().replace(GET, GET + b"A: b\nC: d\r\n"), 400, id="bare-lf"),
        pytest.param(upgrade_head().replace(GET, GET + b"A: b\rC: d\r\n"), 400, id="bare-cr"),
        pytest.param(upgrade_head().replace(b"\r\n", b"\n"), 400, id="all-bare-lf"),
        pytest.param(upgrade_head().replace(GET, GET + b"A: \x00\r\n"), 400, id="nul"),
        pytest.param(upgrade_head().replace(GET, GET + b"no colon\r\n"), 400, id="no-colon"),
        pytest.param(upgrade_head().replace(GET, b"GET /echo x HTTP/1.1\r\n"), 400, id="target"),
        pytest.param(upgrade_head("*"), 400, id="asterisk"),
        pytest.param(upgrade_head("/elsewhere"), 404, id="another-path"),
        pytest.param(
            upgrade_head().replace(GET, GET + b"A: b\r\n" * 200), 431, id="too-many-headers"
        ),
        pytest.param(GET + b"A: " + b"x" * 40_000, 431, id="endless-header"),
        pytest.param(GET + b"A: b\r\n" * 40_000, 431, id="endless-headers"),
        pytest.param(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431, id="long-target"),
    ],
)
@pytest.mark.parametrize("chop", [None, 400])
def test_bad_heads_are_answered_and_the_connection_ends(
    echo_server: ServerThread, head: bytes, status: int, chop: int | None
) -> None:
    before = len(echo_server.requests)
    with Client(echo_server.address) as client:
        try:
            client.send(head, chop=chop)
        except ConnectionError:
            pytest.fail("the connection was cut before it was answered")
        line, headers = client.response()
        assert line.startswith(f"HTTP/1.1 {status} ")
        assert headers["connection"] == "close"
        assert len(client.receive_all()) == int(headers["content-length"])
        if status == 426:
            assert headers["sec-websocket-version"] == "13"
    assert len(echo_server.requests) == before


class Deciding:
    """An acceptor that does what it is told."""

    def __init__(self, decision: Any) -> None:
        self.decision = decision
        self.cancelled = 0

    def __call__(self, request: UpgradeRequest) -> Any:
        if isinstance(self.decision, Exception):
            raise self.decision
        if request.query.get("later"):
            return self._later(request.query["later"])
        return self.decision

    async def _later(self, how: str) -> Accept | Refusal:
        try:
            await asyncio.sleep(60 if how == "never" else 0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if how == "raise":
            raise ZeroDivisionError
        return self.decision


@pytest.mark.parametrize("path", ["/echo", "/echo?later=1"])
def test_a_refusal_is_an_http_answer(path: str) -> None:
    refusal = Refusal(401, b'{"error":"API key is missing"}', delay_s=0.05)
    with ServerThread(acceptor=Deciding(refusal)) as server, Client(server.address) as client:
        client.send(upgrade_head(path) + HELLO)
        line, headers = client.response()
        assert line == "HTTP/1.1 401 Unauthorized"
        assert headers["content-type"] == "application/json"
        assert client.receive_all() == refusal.body


def test_a_refusal_may_have_no_body() -> None:
    with (
        ServerThread(acceptor=Deciding(Refusal(403))) as server,
        Client(server.address) as client,
    ):
        client.send(upgrade_head())
        line, headers = client.response()
        assert line == "HTTP/1.1 403 Forbidden"
        assert headers["content-length"] == "0"
        assert client.receive_all() == b""


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_bytes_that_come_while_an_upgrade_is_decided_are_kept(loop: str) -> None:
    deciding = Deciding(Echo)
    with ServerThread(loop=loop, acceptor=deciding) as server, Client(server.address) as client:
        client.send(upgrade_head("/echo?later=1") + HELLO)
        client.send(HELLO)
        assert client.response()[0].startswith("HTTP/1.1 101 ")
        assert client.frame() == client.frame() == Frame(TEXT, b"hello")


def test_no_more_than_a_head_is_kept_while_an_upgrade_is_decided() -> None:
    deciding = Deciding(Echo)
    with ServerThread(acceptor=deciding) as server, Client(server.address) as client:
        client.send(upgrade_head("/echo?later=never"))
        client.send(bytes(SocketLimits().head_bytes_max + 1))
        assert client.receive_all() == b""
        server.wait_for(lambda: deciding.cancelled == 1)


def test_a_client_that_leaves_ends_the_decision() -> None:
    deciding = Deciding(Echo)
    with ServerThread(acceptor=deciding) as server:
        with Client(server.address) as client:
            client.send(upgrade_head("/echo?later=never"))
            server.wait_for(lambda: server.connection_count)
            client.reset()
        server.wait_for(lambda: deciding.cancelled == 1)


@pytest.mark.parametrize(
    ("decision", "path"),
    [(ZeroDivisionError(), "/echo"), (Echo, "/echo?later=raise"), (Echo, "/echo?later=never")],
)
def test_a_decision_that_fails_or_takes_too_long_is_answered_500(
    decision: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = SocketLimits(accept_timeout_s=0.1)
    with ServerThread(acceptor=Deciding(decision), limits=limits) as server:
        with Client(server.address) as client:
            client.send(upgrade_head(path))
            assert client.response()[0] == "HTTP/1.1 500 Internal Server Error"
            assert json.loads(client.receive_all()) == {"error": "Error connecting to Realtime"}
        assert server.errors == []
    assert [record.name for record in caplog.records] == ["tidewire.server.sniff"]


# ------------------------------------------------------------------ time and number


def test_a_head_that_takes_too_long_is_answered_408() -> None:
    limits = SocketLimits(head_timeout_s=0.15)
    with ServerThread(limits=limits) as server, Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost")
        assert client.receive_all().startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed() -> None:
    limits = SocketLimits(head_timeout_s=0.15)
    with ServerThread(limits=limits) as server, Client(server.address) as client:
        assert client.receive_all() == b""


@pytest.fixture
def full_server() -> Iterator[ServerThread]:
    with ServerThread(limits=SocketLimits(max_connections=2)) as server:
        yield server


def test_connections_past_the_limit_are_told_so_and_the_others_go_on(
    full_server: ServerThread,
) -> None:
    with Client(full_server.address) as one, Client(full_server.address) as two:
        one.upgrade()
        two.upgrade()
        for head in (upgrade_head(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with Client(full_server.address) as three:
                three.send(head)
                line, headers = three.response()
                assert line == "HTTP/1.1 503 Service Unavailable"
                assert "retry-after" in headers
                assert three.receive_all() == b'{"error":"Too many connections"}'
        assert_echoes(one)
        two.send(client_frame(CLOSE))
        assert two.frames_to_end() == [Frame(CLOSE, b"")]
        two.socket.close()
        full_server.wait_for(lambda: full_server.connection_count == 1)
        with Client(full_server.address) as three:
            three.upgrade()
            assert_echoes(three)


# ------------------------------------------------------------------ the receiver's side


class FailingReceiver(Echo):
    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        raise ZeroDivisionError


def test_a_receiver_that_cannot_be_made_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ServerThread(make_receiver=FailingReceiver) as server, Client(server.address) as client:
        client.upgrade()
        assert client.frame() == Frame(CLOSE, close_payload(1011))
    assert [record.message for record in caplog.records] == ["a new connection was not taken"]


# ------------------------------------------------------------------ what we stand on


def test_uvicorn_builds_its_protocols_as_ours_expects() -> None:
    """An uvicorn that fails here needs `server/sniff.py` and `server/listen.py` looked at."""
    parameters = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert parameters == ["self", "config", "server_state", "app_state", "_loop"]
    source = inspect.getsource(Server.startup)
    for keyword in ("config=config", "server_state=self", "app_state=self.lifespan", "_loop=_loop"):
        assert keyword in source
    for method in (Server.startup, Server.shutdown):
        assert "sockets" in inspect.signature(method).parameters
    assert list(inspect.signature(Server.on_tick).parameters) == ["self", "counter"]
    assert list(inspect.signature(HttpToolsProtocol.handle_websocket_upgrade).parameters) == [
        "self"
    ]
    assert hasattr(HttpToolsProtocol, "_unsupported_upgrade_warning")
    assert "connection.shutdown()" in inspect.getsource(Server.shutdown)
    state = ServerState()
    assert state.connections == set()
    config = Config(lambda: None, http=asyncio.Protocol, ws=asyncio.Protocol, log_config=None)
    config.load()
    assert config.http_protocol_class is config.ws_protocol_class is asyncio.Protocol
