"""Requests that are slow, long or ambiguous on purpose, on one connection and on many."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.websocket_client import Client, upgrade_head
from tests.support.websocket_echo import LOOPS, ServerThread
from tidewire.transports.limits import SocketLimits

LIMITS = SocketLimits(
    head_timeout_s=0.4, head_bytes_max=2048, body_timeout_s=0.4, close_timeout_s=1.0, heads_max=4
)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module", params=sorted(LOOPS))
def server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    with ServerThread(loop=request.param, limits=LIMITS) as made:
        yield made
        assert made.errors == []


def answered(server: ServerThread, data: bytes) -> bytes:
    """All that comes until the server closes, or a second passes."""
    with socket.create_connection(server.address, timeout=2) as made:
        made.sendall(data)
        made.settimeout(1)
        got = b""
        try:
            while part := made.recv(65536):
                got += part
        except (TimeoutError, ConnectionError):
            pass
        return got


def trickle(server: ServerThread, begin: bytes, piece: bytes) -> float:
    """Send pieces until the server has had enough; gives the seconds that took."""
    began_s = time.monotonic()
    with socket.create_connection(server.address, timeout=2) as made:
        made.sendall(begin)
        made.settimeout(0.05)
        while time.monotonic() - began_s < 5:
            try:
                made.sendall(piece)
                if not made.recv(65536):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        GET + b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
    ids=["first head", "later head", "body", "chunks"],
)
def test_a_request_that_comes_drop_by_drop_is_given_up(server: ServerThread, begin: bytes) -> None:
    assert trickle(server, begin, b"a: b\r\n") < 3


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "later"])
def test_a_head_that_does_not_end_is_refused_with_431(server: ServerThread, before: bytes) -> None:
    endless = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x-a: b\r\n" * 400
    if not before:
        assert answered(server, endless).startswith(b"HTTP/1.1 431 ")
        return
    with Client(server.address) as client:
        client.send(before)
        assert client.response()[0].endswith("200 OK")
        client.buffer = b""
        client.send(endless)
        assert b"HTTP/1.1 431 " in client.receive_all()


def test_fields_behind_a_body_are_bounded_and_believed_by_nobody(server: ServerThread) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert b"200 OK" in answered(server, head + b"x-forwarded-for: 6.6.6.6\r\n\r\n")
    assert b"200 OK" not in answered(server, head + b"x-a: b\r\n" * 1000)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0"
        b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n \t5\r\n\r\nabcd",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nx: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: y\r\n\r\n",
    ],
    ids=["length and chunks", "two lengths", "coding", "blank before colon", "sign", "folded",
         "line feeds", "nul", "two hosts", "no host"],
)  # fmt: skip
def test_what_two_readers_could_read_in_two_ways_is_refused(
    server: ServerThread, head: bytes
) -> None:
    first_line = answered(server, head + GET).partition(b"\r\n")[0]
    assert first_line.startswith(b"HTTP/1.1 400"), first_line


def test_of_many_connections_without_a_head_the_oldest_go(server: ServerThread) -> None:
    idle = [socket.create_connection(server.address, timeout=2) for _ in range(12)]
    try:
        with Client(server.address) as client:
            client.upgrade(upgrade_head())
        gone = 0
        for made in idle[: len(idle) - LIMITS.heads_max]:
            try:
                gone += not made.recv(1)
            except ConnectionError:
                gone += 1
        assert gone == len(idle) - LIMITS.heads_max
    finally:
        for made in idle:
            made.close()


def test_a_keep_alive_connection_that_behaves_is_served_on(server: ServerThread) -> None:
    with Client(server.address) as client:
        for _ in range(3):
            client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            status, headers = client.response()
            assert status.endswith("200 OK")
            while len(client.buffer) < int(headers["content-length"]):
                client.buffer += client.receive()
            client.buffer = b""
