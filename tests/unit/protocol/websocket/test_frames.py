from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.websocket_client import Frame, split_server_frames
from tidewire.protocol.websocket import frames
from tidewire.protocol.websocket.compression import inflate


def only_frame(data: bytes) -> Frame:
    ((frame, end),) = split_server_frames(data)
    assert end == len(data)
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_lengths_take_the_shortest_form(size: int) -> None:
    payload = b"x" * size
    header = len(frames.text_frame(payload)) - size
    assert header == (2 if size < 126 else 4 if size < 65536 else 10)
    assert only_frame(frames.text_frame(payload)) == Frame(1, payload)
    assert only_frame(frames.binary_frame(payload)) == Frame(2, payload)


@given(st.binary(min_size=frames.COMPRESS_MIN_BYTES, max_size=5000))
def test_compressed_frames_hold_the_message(payload: bytes) -> None:
    frame = only_frame(frames.compressed_binary_frame(payload))
    assert frame.opcode == 2
    assert (inflate(frame.payload, 10_000) if frame.reserved else frame.payload) == payload


def test_text_that_gains_is_compressed() -> None:
    payload = b'{"a":1}' * 100
    frame = only_frame(frames.compressed_text_frame(payload))
    assert (frame.opcode, frame.reserved) == (1, 4)
    assert len(frame.payload) < len(payload) // 5


@pytest.mark.parametrize("payload", [b"a" * (frames.COMPRESS_MIN_BYTES - 1), os.urandom(2000)])
def test_what_is_small_or_does_not_gain_is_left_alone(payload: bytes) -> None:
    assert frames.compressed_text_frame(payload) == frames.text_frame(payload)


def test_close_frames_say_code_and_reason() -> None:
    assert only_frame(frames.close_frame(1012, "bye")) == Frame(8, b"\x03\xf4bye")
    assert only_frame(frames.close_frame(None)) == Frame(8, b"")


def test_a_long_reason_is_cut_between_characters() -> None:
    frame = only_frame(frames.close_frame(1000, "é" * 100))
    assert frame.payload[2:].decode() == "é" * 61


def test_pings_and_pongs_carry_their_payload() -> None:
    assert only_frame(frames.ping_frame(b"a")) == Frame(9, b"a")
    assert only_frame(frames.pong_frame(b"b" * 125)) == Frame(10, b"b" * 125)
