from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.websocket.compression import MessageTooBigError, deflate, inflate

LIMIT = 100_000


@given(st.binary(max_size=5000))
def test_messages_round_trip(payload: bytes) -> None:
    assert inflate(deflate(payload), LIMIT) == payload


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (bytes.fromhex("f248cdc9c90700"), b"Hello"),  # RFC 7692 section 7.2.3.1
        (bytes.fromhex("000500faff48656c6c6f00"), b"Hello"),  # 7.2.3.3, not compressed
        (bytes.fromhex("f348cdc9c9070000"), b"Hello"),  # 7.2.3.4, BFINAL set
        (bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")), b"Hello"),  # 7.2.3.5
        (b"\x00", b""),
        (b"\x02\x00", b""),
        (b"", b""),
    ],
)
def test_the_examples_of_the_rfc_inflate(data: bytes, payload: bytes) -> None:
    assert inflate(data, LIMIT) == payload


def test_a_message_of_exactly_the_limit_passes_and_one_more_does_not() -> None:
    assert len(inflate(deflate(bytes(LIMIT)), LIMIT)) == LIMIT
    with pytest.raises(MessageTooBigError):
        inflate(deflate(bytes(LIMIT + 1)), LIMIT)


def test_a_bomb_is_not_inflated_past_the_limit() -> None:
    bomb = deflate(bytes(50_000_000))
    with pytest.raises(MessageTooBigError):
        inflate(bomb, LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        deflate(b"some text that is long enough to be cut" * 9)[:-5],
        deflate(bytes(range(256)) * 3)[:148],  # cut where zlib itself sees no error
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00more behind the last block",
    ],
)
def test_broken_streams_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        inflate(data, LIMIT)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_refusal(data: bytes) -> None:
    try:
        payload = inflate(data, 1000)
    except ProtocolViolationError:
        return
    assert len(payload) <= 1000
    decompressor = zlib.decompressobj(-15)
    assert decompressor.decompress(data + b"\x00\x00\xff\xff")[:1000] == payload
