import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import ProtocolViolationError
from tidewire.core.message import PayloadEncoding
from tidewire.protocol.phoenix.codec_binary import decode_user_broadcast, encode_user_broadcast

# Captured from supabase-js 2.119.1 (join_ref "6", ref "7", topic realtime:room:1, event e1).
CAPTURED = bytes([3, 1, 1, 15, 2, 0, 1]) + b"67" + b"realtime:room:1" + b"e1" + b'{"x":1}'


def push(join_ref: bytes, ref: bytes, topic: bytes, event: bytes, meta: bytes, enc: int, body):
    sizes = bytes(map(len, (join_ref, ref, topic, event, meta)))
    return b"\x03" + sizes + bytes([enc]) + join_ref + ref + topic + event + meta + body


def test_the_frame_that_supabase_js_sends_is_read():
    frame = decode_user_broadcast(CAPTURED)
    assert frame.broadcast is not None
    assert (frame.join_ref, frame.ref, frame.topic) == (b'"6"', b'"7"', "realtime:room:1")
    assert frame.broadcast.event == "e1"
    assert frame.broadcast.body == b'{"x":1}'
    assert frame.broadcast.encoding is PayloadEncoding.JSON


def test_the_frame_that_supabase_js_reads_is_sent():
    data = encode_user_broadcast("realtime:room:1", "e1", b'{"x":1}', PayloadEncoding.JSON)
    assert data == bytes([4, 15, 2, 0, 1]) + b"realtime:room:1" + b"e1" + b'{"x":1}'


small = st.text(max_size=20).map(str.encode)


@given(small, small, small, small, small, st.binary(max_size=50))
def test_every_field_is_found(join_ref, ref, topic, event, meta, body):
    frame = decode_user_broadcast(push(join_ref, ref, topic, event, meta, 0, body))
    assert frame.broadcast is not None
    assert frame.topic.encode() == topic
    assert frame.broadcast.event.encode() == event
    assert frame.broadcast.metadata == meta
    assert frame.broadcast.body == body


@pytest.mark.parametrize("size", [0, 1, 6, 8, 20, len(CAPTURED) - 8])
def test_a_frame_cut_short_is_refused(size):
    with pytest.raises(ProtocolViolationError):
        decode_user_broadcast(CAPTURED[:size])


@pytest.mark.parametrize("kind", [0, 1, 2, 4, 5, 255])
def test_other_kinds_are_refused(kind):
    with pytest.raises(ProtocolViolationError):
        decode_user_broadcast(bytes([kind]) + CAPTURED[1:])


@pytest.mark.parametrize("body", [b"{", b"", b"{'a':1}", b'"\xff"', b"[1,]"])
def test_json_that_would_break_its_receivers_is_refused(body):
    with pytest.raises(ProtocolViolationError):
        decode_user_broadcast(push(b"1", b"2", b"t", b"e", b"", 1, body))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data):
    with contextlib.suppress(ProtocolViolationError):
        decode_user_broadcast(data)


def test_a_field_that_fits_no_byte_gives_no_frame():
    assert encode_user_broadcast("t", "e" * 256, b"", PayloadEncoding.BINARY) is None
    assert encode_user_broadcast("t", "e" * 255, b"", PayloadEncoding.BINARY) is not None
