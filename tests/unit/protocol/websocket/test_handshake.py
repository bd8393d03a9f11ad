from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.websocket_client import KEY, upgrade_head
from tidewire.protocol.websocket import handshake
from tidewire.protocol.websocket.handshake import Deflate, HandshakeError, parse_head

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def head_of(request: bytes) -> handshake.RequestHead:
    return parse_head(request.removesuffix(handshake.HEAD_END))


def test_a_head_is_taken_apart() -> None:
    head = head_of(b"GET /a%20b?x=%31&y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:  2 \r\n\r\n")
    assert head == handshake.RequestHead(
        "GET", "/a b", "x=%31&y", "HTTP/1.1", {"host": "h", "x-a": "1, 2"}
    )
    assert handshake.parse_query(head.query) == {"x": "1", "y": ""}


@given(st.binary(max_size=200))
def test_any_bytes_give_a_head_or_a_refusal(data: bytes) -> None:
    for head in (data, b"GET / HTTP/1.1\r\n" + data):
        status = 101
        try:
            parsed = parse_head(head)
            handshake.parse_query(parsed.query)
            handshake.check_upgrade(parsed)
        except HandshakeError as error:
            status = error.status
        assert status in (101, 400, 426, 431)


@given(st.text(max_size=80))
def test_any_extension_header_gives_an_agreement_or_none(offers: str) -> None:
    assert handshake.negotiate_deflate(offers) is None or "permessage" in offers.lower()


@given(st.binary(max_size=30), st.integers(0, 30))
def test_bare_breaks_are_found_wherever_the_data_is_cut(data: bytes, cut: int) -> None:
    alone = data.replace(b"\r\n", b"")
    expected = b"\n" in alone or b"\r" in alone
    first, second = data[:cut], data[cut:]
    carried = first[-1:] if first.endswith(b"\r") else b""
    found = handshake.has_bare_line_break(first) or handshake.has_bare_line_break(carried + second)
    if data.endswith(b"\r"):  # may yet become a pair
        expected = b"\n" in alone or b"\r" in alone[:-1]
    assert found == expected


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("permessage-deflate", Deflate(AGREED, True)),
        ("permessage-deflate; client_max_window_bits", Deflate(AGREED, True)),
        ('permessage-deflate; client_max_window_bits="10"', Deflate(AGREED, True)),
        (
            "permessage-deflate; server_max_window_bits=15",
            Deflate(f"{AGREED}; server_max_window_bits=15", True),
        ),
        (
            "permessage-deflate; server_max_window_bits=9",
            Deflate(f"{AGREED}; server_max_window_bits=9", False),
        ),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            Deflate(AGREED, True),
        ),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; what", None),
        ("", None),
    ],
)
def test_extensions_are_agreed_on_or_declined(offers: str, agreed: Deflate | None) -> None:
    assert handshake.negotiate_deflate(offers) == agreed


def test_the_proof_is_that_of_the_rfc() -> None:
    assert handshake.accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_another_version_is_told_ours() -> None:
    with pytest.raises(HandshakeError) as caught:
        handshake.check_upgrade(head_of(upgrade_head(sec_websocket_version="7")))
    assert caught.value.status == 426
    assert caught.value.headers == {"Sec-WebSocket-Version": "13"}


def test_plain_http_is_known_without_parsing() -> None:
    assert not handshake.may_ask_upgrade(b"GET /upgrade: HTTP/1.1\r\nHost: x")
    assert handshake.may_ask_upgrade(b"GET / HTTP/1.1\r\nHost: x\r\nUPGRADE: websocket")
    assert not handshake.asks_websocket(head_of(upgrade_head(upgrade="h2c")))
    assert handshake.asks_websocket(head_of(upgrade_head(upgrade="h2c, WebSocket")))


def test_refusals_are_whole_responses() -> None:
    assert handshake.refusal(403) == (
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert handshake.refusal(499, b"{}").startswith(b"HTTP/1.1 499 \r\n")
    assert handshake.refusal(499, b"{}").endswith(b"Content-Type: application/json\r\n\r\n{}")
