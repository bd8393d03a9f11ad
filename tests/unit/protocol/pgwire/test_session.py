"""The client's side of a session, without a socket."""

# ruff: noqa: E501 - tables of cases keep one case a line

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgwire.events import (
    Event,
    Keepalive,
    NoticeReceived,
    QueryFailed,
    QueryResult,
    SessionFailed,
    SessionReady,
    StreamEnded,
    StreamStarted,
    WalData,
    WalSkipped,
)
from tidewire.protocol.pgwire.session import COPY_DONE, FrontendSession, SessionState

READY = b"Z\0\0\0\5I"


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def authentication(kind: int, rest: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!I", kind) + rest)


def report(kind: bytes, **fields: str) -> bytes:
    body = b"".join(f"{name}{value}\0".encode() for name, value in fields.items())
    return message(kind, body + b"\0")


def wal(payload: bytes) -> bytes:
    return message(b"d", b"w" + bytes(24) + payload)


def keepalive(lsn: int, reply: int = 0) -> bytes:
    return message(b"d", b"k" + struct.pack("!QqB", lsn, 0, reply))


def make_session(password: str | None = "pw", wal_message_bytes_max: int = 1000) -> FrontendSession:
    return FrontendSession(
        user="me",
        password=password,
        parameters={"database": "db"},
        nonce="abc",
        wal_message_bytes_max=wal_message_bytes_max,
    )


def ready_session(wal_message_bytes_max: int = 1000) -> FrontendSession:
    session = make_session(wal_message_bytes_max=wal_message_bytes_max)
    session.receive(authentication(0) + READY)
    return session


def streaming_session(wal_message_bytes_max: int = 1000) -> FrontendSession:
    session = ready_session(wal_message_bytes_max)
    session.query("START_REPLICATION")
    session.receive(message(b"W", b"\0\0\0"))
    return session


def test_the_startup_message() -> None:
    start = make_session().start()
    assert start == struct.pack("!II", len(start), 196608) + b"user\0me\0database\0db\0\0"


def test_trust() -> None:
    session = make_session()
    parameter = message(b"S", b"server_version\x0018.6\0")
    events = session.receive(authentication(0) + parameter + message(b"K", bytes(8)) + READY)
    assert events == [SessionReady("18.6")]
    assert session.take_outgoing() == b""


def test_cleartext_and_md5() -> None:
    session = make_session()
    session.receive(authentication(3))
    assert session.take_outgoing() == message(b"p", b"pw\0")
    assert session.take_outgoing() == b"", "taken once"
    session = make_session()
    session.receive(authentication(5, b"salt"))
    assert session.take_outgoing() == message(b"p", b"md5652274be247bb9ae24bac7dc11fd7733\0")


def test_scram_is_begun_with_its_mechanism() -> None:
    session = make_session()
    session.receive(authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))
    first = b"n,,n=,r=abc"
    expected = b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first
    assert session.take_outgoing() == message(b"p", expected)


@pytest.mark.parametrize(
    ("password", "request_"),
    [
        (None, authentication(3)),
        ("pw", authentication(7)),
        ("pw", authentication(10, b"OTHER\0\0")),
    ],
)
def test_a_login_that_cannot_go_on_fails(password: str | None, request_: bytes) -> None:
    (event,) = make_session(password).receive(request_)
    assert isinstance(event, SessionFailed)
    assert event.report.code == "28000"


@pytest.mark.parametrize(
    "data",
    [
        READY,  # ready before it authenticated us
        authentication(11, b"r=x"),
        authentication(12, b"v=x"),
        authentication(5, b"x"),
        authentication(10, b"SCRAM-SHA-256\0\0") + authentication(0),  # its proof is missing
        authentication(10, b"SCRAM-SHA-256\0\0") + authentication(3),
        authentication(0) + authentication(0),
        message(b"T", b"\0\0"),
        message(b"W", b"\0\0\0"),
        wal(b"x"),
        message(b"?"),
        message(b"R"),
        b"R\0\0\0\3",
        b"R\x7f\xff\xff\xff",
        b"d\x7f\xff\xff\xff" + bytes(40),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_nonsense_at_the_start_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        make_session().receive(data)


def test_a_query_and_its_rows() -> None:
    session = ready_session()
    assert session.query("SELECT 1") == message(b"Q", b"SELECT 1\0")
    columns = message(b"T", b"\0\2a\0" + bytes(18) + b"b\0" + bytes(18))
    row = message(b"D", b"\0\2" + struct.pack("!i", 1) + b"x" + struct.pack("!i", -1))
    events = session.receive(columns + row + message(b"C", b"SELECT 1\0") + READY)
    assert events == [QueryResult(("a", "b"), (("x", None),))]
    assert session.state is SessionState.READY


def test_a_refused_query_leaves_the_session_usable() -> None:
    session = ready_session()
    session.query("nonsense")
    (event,) = session.receive(
        report(b"E", S="FEHLER", V="ERROR", C="42601", M="no", D="why") + READY
    )
    assert isinstance(event, QueryFailed)
    assert str(event.report) == "42601 no (why)"
    assert session.state is SessionState.READY


def test_a_fatal_error_ends_the_session() -> None:
    session = ready_session()
    session.query("SELECT 1")
    (event,) = session.receive(report(b"E", S="FATAL", V="FATAL", C="57P01", M="bye"))
    assert isinstance(event, SessionFailed)
    assert session.state is SessionState.ENDED


def test_the_stream() -> None:
    session = ready_session()
    session.query("START_REPLICATION")
    events = session.receive(message(b"W", b"\0\0\0") + wal(b"one") + keepalive(9, 1) + wal(b"two"))
    assert events == [StreamStarted(), WalData(b"one"), Keepalive(Lsn(9), True), WalData(b"two")]
    update = session.status_update(received=Lsn(5), flushed=Lsn(4), now_us=946_684_800_000_001)
    assert update == message(b"d", b"r" + struct.pack("!QQQqB", 5, 4, 4, 1, 0))
    (notice,) = session.receive(report(b"N", S="WARNING", V="WARNING", C="55000", M="skipped"))
    assert isinstance(notice, NoticeReceived)
    assert session.receive(message(b"c")) == [StreamEnded()]
    assert session.take_outgoing() == COPY_DONE


def test_an_error_ends_the_stream_and_what_follows_is_passed_over() -> None:
    session = streaming_session()
    events = session.receive(
        wal(b"one") + report(b"E", V="ERROR", C="42704", M="gone") + READY + b"anything else"
    )
    assert [type(event) for event in events] == [WalData, SessionFailed]
    assert session.receive(b"and more") == []


@pytest.mark.parametrize(
    "data",
    [message(b"d"), message(b"d", b"z"), message(b"d", b"w" + bytes(23)), message(b"d", b"w" + bytes(24)),
     message(b"d", b"k" + bytes(16)), message(b"d", b"k" + bytes(18)), READY, message(b"D", b"\0\0")],
)  # fmt: skip
def test_nonsense_in_the_stream_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        streaming_session().receive(data)


@pytest.mark.parametrize("step", [1, 7, 31, 100, 5000])
def test_a_message_beyond_the_bound_is_passed_over(step: int) -> None:
    session = streaming_session(wal_message_bytes_max=100)
    data = wal(b"a") + wal(b"I" + bytes(3000)) + wal(b"b") + wal(b"M" + bytes(75)) + wal(b"c")
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += session.receive(data[start : start + step])
        assert len(session._buffer) <= 101
    assert events == [
        WalData(b"a"), WalSkipped(ord("I"), 3030), WalData(b"b"), WalSkipped(ord("M"), 105), WalData(b"c"),
    ]  # fmt: skip


def test_a_message_larger_than_postgres_sends_is_refused() -> None:
    with pytest.raises(ProtocolViolationError):
        streaming_session().receive(b"d\x40\0\0\0w" + bytes(30))


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.data())
def test_cuts_anywhere_change_nothing(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wal(payload) + keepalive(3) for payload in payloads)
    whole = streaming_session().receive(stream)
    session = streaming_session()
    cut: list[Event] = []
    rest = stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        cut += session.receive(rest[:size])
        rest = rest[size:]
    assert cut == whole
    assert len(whole) == 2 * len(payloads)


@given(st.sampled_from([make_session, ready_session, streaming_session]), st.data())
def test_random_messages_never_raise_anything_else(make, data: st.DataObject) -> None:
    session = make()
    if session.state is SessionState.READY:
        session.query("x")
    bodies = st.tuples(st.sampled_from(b"RENSKZTDCIWcdv?"), st.binary(max_size=50))
    try:
        for kind, body in data.draw(st.lists(bodies, max_size=5)):
            session.receive(message(bytes([kind]), body))
        session.receive(data.draw(st.binary(max_size=50)))
    except ProtocolViolationError:
        pass
