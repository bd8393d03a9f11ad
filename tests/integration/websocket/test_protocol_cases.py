"""The subjects of the Autobahn testsuite over real sockets (see tests/support)."""

from __future__ import annotations

import itertools
import os
import random

import pytest

from tests.support.websocket_cases import CASES, Case
from tests.support.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    TEXT,
    Client,
    Frame,
    client_frame,
    close_payload,
)
from tests.support.websocket_echo import ServerThread
from tidewire.protocol.websocket.compression import deflate, inflate


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(echo_server: ServerThread, case: Case) -> None:
    with Client(echo_server.address) as client:
        client.upgrade()
        client.send(case.sent, chop=case.chop)
        if case.closes is None:
            client.send(client_frame(CLOSE, close_payload(1000)))
        *back, end = client.frames_to_end()
        assert tuple(back) == case.back
        assert end.opcode == CLOSE
        assert int.from_bytes(end.payload[:2], "big") == (case.closes or 1000)


def test_a_close_without_a_code_is_answered_without_one(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        client.upgrade()
        client.send(client_frame(CLOSE))
        assert client.frames_to_end() == [Frame(CLOSE, b"")]


OFFERS = {
    "plain": (DEFLATE, True),
    "client-bits": (f"{DEFLATE}; client_max_window_bits", True),
    "no-takeover": (f"{DEFLATE}; client_no_context_takeover; server_no_context_takeover", True),
    "client-9": (f"{DEFLATE}; client_max_window_bits=9", True),
    "server-15": (f"{DEFLATE}; server_max_window_bits=15", True),
    "server-9": (f"{DEFLATE}; server_max_window_bits=9", False),
    "second-offer": (f"{DEFLATE}; server_max_window_bits=8, {DEFLATE}", True),
}
SIZES = (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)


def texts(size: int, rnd: random.Random) -> bytes:
    words = [b"client", b"trip", b'{"id":', b"organizer ", "Über".encode(), b"42,"]
    data = b""
    while len(data) < size:
        data += rnd.choice(words)
    return data[:size].decode(errors="ignore").encode().ljust(size)


def compression_round(
    client: Client, opcode: int, payload: bytes, *, fragment: int | None, may_compress: bool
) -> None:
    data = deflate(payload)
    size = fragment or max(len(data), 1)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    for at, piece in enumerate(pieces):
        client.send(
            client_frame(
                CONTINUATION if at else opcode,
                piece,
                final=at == len(pieces) - 1,
                reserved=0 if at else 4,
            )
        )
    frame = client.frame()
    assert frame is not None
    assert frame.opcode == opcode
    assert may_compress or not frame.reserved
    assert (inflate(frame.payload, 1 << 20) if frame.reserved else frame.payload) == payload


def run_compression(server: ServerThread, offer: str, size: int, opcode: int, count: int) -> None:
    offered, may_compress = OFFERS[offer]
    rnd = random.Random(f"{offer} {size} {opcode}")
    with Client(server.address) as client:
        agreed = client.upgrade(extensions=offered)["sec-websocket-extensions"]
        assert agreed.startswith(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
        for number in range(count):
            # Every third binary message cannot be compressed.
            plain = opcode == TEXT or number % 3
            payload = texts(size, rnd) if plain else os.urandom(size)
            fragment = (None, 256, 1)[number % 3] if size <= 4096 else (None, 4096)[number % 2]
            compression_round(client, opcode, payload, fragment=fragment, may_compress=may_compress)
        client.send(client_frame(CLOSE))
        assert client.frames_to_end() == [Frame(CLOSE, b"")]


COMBINATIONS = list(itertools.product(OFFERS, SIZES, (TEXT, BINARY)))


@pytest.mark.parametrize(("offer", "size", "opcode"), COMBINATIONS[::7])
def test_compressed_messages_are_echoed(
    echo_server: ServerThread, offer: str, size: int, opcode: int
) -> None:
    run_compression(echo_server, offer, size, opcode, count=6)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("offer", "size", "opcode"), COMBINATIONS)
def test_a_thousand_compressed_messages_are_echoed(
    echo_server: ServerThread, offer: str, size: int, opcode: int
) -> None:
    run_compression(echo_server, offer, size, opcode, count=1000)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "x-webkit-deflate-frame",
        f"{DEFLATE}; unknown_parameter",
        f"{DEFLATE}; server_max_window_bits",
        f"{DEFLATE}; server_max_window_bits=16",
        f"{DEFLATE}; client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_offers_that_cannot_be_kept_are_declined(echo_server: ServerThread, offer: str) -> None:
    with Client(echo_server.address) as client:
        assert "sec-websocket-extensions" not in client.upgrade(extensions=offer)
        client.send(client_frame(TEXT, deflate(b"x" * 600), reserved=4))
        frames = client.frames_to_end()
        assert [frame.opcode for frame in frames] == [CLOSE]
        assert frames[0].payload[:2] == close_payload(1002)


def test_a_bomb_closes_with_1009(echo_server: ServerThread) -> None:
    with Client(echo_server.address) as client:
        client.upgrade(extensions=DEFLATE)
        client.send(client_frame(BINARY, deflate(bytes(100 << 20)), reserved=4))
        assert client.frames_to_end()[0].payload[:2] == close_payload(1009)
