from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_payload,
)
from tidewire.protocol.websocket.compression import deflate
from tidewire.protocol.websocket.receiver import FrameReceiver

LIMIT = 10_000


class Recorder(FrameReceiver):
    """Keeps what it is told, with payloads."""

    def __init__(self, *, max_message_bytes: int = LIMIT, deflate: bool = False) -> None:
        super().__init__(max_message_bytes=max_message_bytes, accepts_compressed=deflate)
        self.events: list[tuple[Any, ...]] = []
        self.on_message = lambda payload, is_text: self.events.append(
            (TEXT if is_text else BINARY, payload)
        )

    def on_ping(self, payload: bytes) -> None:
        self.events.append((PING, payload))

    def on_close(self, code: int) -> None:
        self.events.append((CLOSE, code))

    def on_fail(self, code: int, reason: str) -> None:
        assert reason
        self.events.append(("fail", code))


def events_of(data: bytes, *, chop: int | None = None, **options: Any) -> list[tuple[Any, ...]]:
    recorder = Recorder(**options)
    for at in range(0, len(data), chop or len(data) or 1):
        recorder.receive(data[at : at + (chop or len(data))])
    return recorder.events


messages = st.one_of(
    st.tuples(st.just(TEXT), st.text(max_size=400).map(str.encode)),
    st.tuples(st.just(BINARY), st.binary(max_size=400)),
)


def fragmented(rnd: random.Random, opcode: int, payload: bytes, *, compress: bool) -> bytes:
    """The message in frames cut anywhere, with pings between."""
    data = deflate(payload) if compress else payload
    cuts = sorted(rnd.randrange(len(data) + 1) for _ in range(rnd.randrange(4)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    out = b""
    for number, piece in enumerate(pieces):
        out += client_frame(
            CONTINUATION if number else opcode,
            piece,
            final=number == len(pieces) - 1,
            reserved=4 if compress and not number else 0,
        )
        if number < len(pieces) - 1 and rnd.random() < 0.5:
            out += client_frame(PONG, b"between")
    return out


@given(st.lists(messages, max_size=6), st.integers(0, 2**32), st.booleans())
def test_messages_arrive_whole_and_in_order_however_they_are_cut(
    sent: list[tuple[int, bytes]], seed: int, compress: bool
) -> None:
    rnd = random.Random(seed)
    data = b"".join(fragmented(rnd, *message, compress=compress) for message in sent)
    recorder = Recorder(deflate=compress)
    at = 0
    while at < len(data):
        size = rnd.choice((1, 2, 7, 50, 5000))
        recorder.receive(data[at : at + size])
        at += size
    assert recorder.events == sent


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 20), st.booleans())
def test_no_bytes_raise_and_cutting_them_changes_nothing(
    parts: list[bytes], chop: int, deflate: bool
) -> None:
    data = b"".join(parts)
    whole = events_of(data, deflate=deflate)
    assert events_of(data, chop=chop, deflate=deflate) == whole
    endings = [event for event in whole if event[0] in (CLOSE, "fail")]
    assert len(endings) <= 1
    assert not endings or whole[-1] is endings[0]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_nothing_is_told_after_an_ending(seed: int) -> None:
    rnd = random.Random(seed)
    ending = rnd.choice((client_frame(CLOSE), client_frame(3), client_frame(TEXT, b"\xff")))
    data = client_frame(TEXT, b"before") + ending + client_frame(TEXT, b"after") + bytes(20)
    events = events_of(data, chop=rnd.choice((None, 1, 5)))
    assert len(events) == 2
    assert events[0] == (TEXT, b"before")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(client_frame(TEXT, b"a", masked=False), 1002, id="not-masked"),
        pytest.param(client_frame(TEXT, b"", reserved=4), 1002, id="compressed-not-agreed"),
        pytest.param(client_frame(TEXT, b"", reserved=2), 1002, id="rsv2"),
        pytest.param(client_frame(BINARY, b"x" * 300, reserved=1), 1002, id="rsv3-long"),
        pytest.param(client_frame(3), 1002, id="opcode-3"),
        pytest.param(client_frame(15, b"x" * 200), 1002, id="opcode-15-long"),
        pytest.param(client_frame(PING, b"x" * 126), 1002, id="long-ping"),
        pytest.param(client_frame(PING, b"x", final=False), 1002, id="fragmented-ping"),
        pytest.param(client_frame(CONTINUATION, b"x"), 1002, id="continuation-of-nothing"),
        pytest.param(
            client_frame(TEXT, b"a", final=False) + client_frame(TEXT, b"b"), 1002, id="nested"
        ),
        pytest.param(client_frame(TEXT, b"x" * 9, width=2), 1002, id="length-not-shortest-2"),
        pytest.param(client_frame(TEXT, b"x" * 200, width=8), 1002, id="length-not-shortest-8"),
        pytest.param(client_frame(BINARY, length=2**63, width=8), 1002, id="length-sign-bit"),
        pytest.param(client_frame(BINARY, length=2**62, width=8), 1009, id="length-huge"),
        pytest.param(client_frame(BINARY, length=LIMIT + 1, width=2), 1009, id="above-the-limit"),
        pytest.param(client_frame(TEXT, b"\xc3\x28"), 1007, id="utf-8"),
        pytest.param(client_frame(TEXT, b"\xc3"), 1007, id="utf-8-cut"),
        pytest.param(client_frame(TEXT, b"\xed\xa0\x80", final=False), 1007, id="utf-8-early"),
        pytest.param(client_frame(CLOSE, b"\x03"), 1002, id="close-of-one-byte"),
        pytest.param(client_frame(CLOSE, close_payload(1005)), 1002, id="close-1005"),
        pytest.param(client_frame(CLOSE, close_payload(1000, b"\xff")), 1007, id="close-reason"),
    ],
)
@pytest.mark.parametrize("chop", [None, 1])
def test_broken_rules_fail_with_their_code(frame: bytes, code: int, chop: int | None) -> None:
    assert events_of(frame, chop=chop) == [("fail", code)]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(client_frame(TEXT, b"\xff\xff\xff", reserved=4), 1007, id="not-deflate"),
        pytest.param(client_frame(TEXT, deflate(b"\xff"), reserved=4), 1007, id="not-utf-8"),
        pytest.param(client_frame(TEXT, deflate(bytes(LIMIT + 1)), reserved=4), 1009, id="bomb"),
        pytest.param(client_frame(PING, reserved=4), 1002, id="compressed-ping"),
        pytest.param(
            client_frame(TEXT, b"", final=False, reserved=4) + client_frame(0, b"", reserved=4),
            1002,
            id="compressed-continuation",
        ),
    ],
)
def test_broken_compression_fails_with_its_code(frame: bytes, code: int) -> None:
    assert events_of(frame, deflate=True) == [("fail", code)]


def test_the_limit_counts_all_fragments_and_is_judged_before_the_payload_comes() -> None:
    first = client_frame(BINARY, bytes(LIMIT - 200), final=False)
    assert events_of(first + client_frame(0, bytes(200))) == [(BINARY, bytes(LIMIT))]
    assert events_of(first + client_frame(0, length=201)[:4]) == [("fail", 1009)]
    small = client_frame(BINARY, bytes(100), final=False)
    many = small + client_frame(0, bytes(100), final=False) * 200
    assert events_of(many) == [("fail", 1009)]


def test_a_close_frame_tells_its_code() -> None:
    assert events_of(client_frame(CLOSE, close_payload(4321, b"why"))) == [(CLOSE, 4321)]
    assert events_of(client_frame(CLOSE)) == [(CLOSE, 1005)]


def test_pings_are_told_and_pongs_are_not() -> None:
    data = client_frame(PING, b"1") + client_frame(PONG, b"2") + client_frame(PING)
    assert events_of(data) == [(PING, b"1"), (PING, b"")]


def test_a_message_taker_may_be_exchanged_from_within() -> None:
    recorder = Recorder()

    def first_only(payload: bytes, is_text: bool) -> None:
        recorder.events.append((TEXT, payload))
        recorder.on_message = lambda _payload, _is_text: None

    recorder.on_message = first_only
    recorder.receive(client_frame(TEXT, b"1") + client_frame(TEXT, b"2"))
    assert recorder.events == [(TEXT, b"1")]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_fragments_do_not_outgrow_the_message_limit(size: int) -> None:
    recorder = Recorder(max_message_bytes=200_000)
    recorder.receive(client_frame(BINARY, b"", final=False))
    fragment = client_frame(CONTINUATION, b"x" * size, final=False) * 1000
    tracemalloc.start()
    for _ in range(60):
        recorder.receive(fragment)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recorder.events == []
    assert held < 400_000


def test_a_big_frame_in_small_reads_is_not_copied_at_each() -> None:
    recorder = Recorder(max_message_bytes=5_000_000)
    data = client_frame(BINARY, bytes(4_000_000))
    buffer: object = None
    for at in range(0, len(data), 1000):
        recorder.receive(data[at : at + 1000])
        assert recorder.events or at <= 1000 or recorder._buffer is buffer
        buffer = recorder._buffer
    assert recorder.events == [(BINARY, bytes(4_000_000))]
