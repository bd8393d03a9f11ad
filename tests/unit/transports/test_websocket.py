"""The transport's states, with a socket of paper. Real sockets: tests/integration/websocket."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from tests.support.until import until
from tests.support.websocket_client import (
    CLOSE,
    PING,
    TEXT,
    client_frame,
    close_payload,
    split_server_frames,
)
from tidewire.protocol.websocket.frames import ping_frame, text_frame
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import HOLD_MAX_S, SocketGroup, WebSocketTransport


class PaperSocket(asyncio.Transport):
    """Keeps what is written; its buffer is what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.buffered = 0

    def write(self, data: Any) -> None:
        self.calls.append(data)

    def pause_reading(self) -> None:
        self.calls.append("pause reading")

    def resume_reading(self) -> None:
        self.calls.append("resume reading")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("eof")

    def is_closing(self) -> bool:
        return "abort" in self.calls

    def abort(self) -> None:
        self.calls.append("abort")


class Receiver:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.lost: list[int | None] = []
        self.told: list[str] = []

    def message_received(self, payload: bytes, is_text: bool) -> None:
        self.messages.append((payload, is_text))

    def connection_lost(self, close_code: int | None) -> None:
        self.lost.append(close_code)

    def writing_paused(self) -> None:
        self.told.append("paused")

    def writing_resumed(self) -> None:
        self.told.append("resumed")


class Rig:
    """One open connection on paper."""

    def __init__(self, **limits: Any) -> None:
        self.slow = 0
        self.live: set[Any] = set()
        self.socket = PaperSocket()
        group = SocketGroup(
            SocketLimits(**limits),
            loop=asyncio.get_running_loop(),
            live=self.live,
            on_slow_consumer=self.count_slow,
        )
        self.transport = WebSocketTransport(
            group, self.socket, accepts_compressed=False, supports_deflate=False
        )
        self.receiver = Receiver()
        self.transport.open(lambda _transport: self.receiver)

    def count_slow(self) -> None:
        self.slow += 1

    @property
    def sent(self) -> list[Any]:
        return self.socket.calls


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def turn() -> None:
    """Let the loop run what was scheduled for its next turn."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


def test_it_is_small() -> None:
    assert not hasattr(WebSocketTransport.__new__(WebSocketTransport), "__dict__")
    assert sys.getsizeof(WebSocketTransport.__new__(WebSocketTransport)) < 250


async def test_messages_go_to_the_receiver_and_writes_to_the_socket(rig: Rig) -> None:
    rig.transport.data_received(client_frame(TEXT, b"a") + client_frame(2, b"b"))
    assert rig.receiver.messages == [(b"a", True), (b"b", False)]
    write = rig.transport.write
    write(b"frames")
    rig.transport.ping()
    assert rig.sent == [b"frames", ping_frame()]
    assert rig.transport in rig.live
    assert rig.socket.high == 1 << 20


async def test_a_write_is_harmless_after_close_and_loss(rig: Rig) -> None:
    rig.transport.close(1000)
    count = len(rig.sent)
    rig.transport.write(b"late")
    rig.transport.connection_lost(None)
    rig.transport.write(b"later")
    rig.transport.abort()
    assert len(rig.sent) == count
    assert rig.transport not in rig.live
    assert rig.receiver.lost == [None]


async def test_close_is_said_once_and_the_answer_ends_it(rig: Rig) -> None:
    rig.transport.close(1000, "done")
    rig.transport.close(1001)
    rig.transport.data_received(client_frame(TEXT, b"ignored"))
    rig.transport.data_received(client_frame(CLOSE, close_payload(1000)))
    rig.transport.connection_lost(None)
    ((frame, _),) = split_server_frames(rig.sent[0])
    assert frame.payload == close_payload(1000, b"done")
    assert rig.sent[1:] == ["eof"]
    assert rig.receiver.messages == []
    assert rig.receiver.lost == [1000]


async def test_over_the_limit_a_fifth_more_is_taken_then_the_peer_is_cut(rig: Rig) -> None:
    frame = text_frame(bytes(1000))
    rig.socket.buffered = 1 << 20
    rig.transport.pause_writing()
    for _ in range(1000):
        before = len(rig.sent)
        rig.transport.write(frame)
        rig.socket.buffered += len(frame) * (len(rig.sent) - before)
    written = len(rig.sent) * len(frame)
    assert 0.19 * (1 << 20) < written <= 0.2 * (1 << 20)
    assert "abort" not in rig.sent
    assert rig.receiver.lost == []
    await turn()
    assert rig.sent[-1] == "abort"
    assert rig.slow == 1


async def test_below_the_limit_again_all_is_well(rig: Rig) -> None:
    rig.socket.buffered = 3 << 20
    rig.transport.pause_writing()
    rig.transport.write(b"one")
    rig.socket.buffered = 0
    rig.transport.resume_writing()
    for _ in range(1000):
        rig.transport.write(bytes(1000))
    await turn()
    assert len(rig.sent) == 1001
    assert rig.slow == 0
    assert rig.transport._deadline is None


async def test_a_peer_that_stays_over_the_limit_is_cut_in_time() -> None:
    rig = Rig(drain_timeout_s=0.001)
    rig.socket.buffered = 3 << 20
    rig.transport.pause_writing()
    while not rig.slow:
        await turn()
    assert rig.sent == ["abort"]


async def test_a_slow_peer_is_cut_when_it_reads_nothing_and_not_while_it_reads() -> None:
    rig = Rig(drain_timeout_s=0.05)
    rig.socket.buffered = 3 << 20
    rig.transport.pause_writing()
    assert rig.receiver.told == ["paused"]
    for _ in range(10):
        heard_s = rig.transport.last_heard_s
        rig.socket.buffered -= 1000
        await until(lambda heard_s=heard_s: rig.transport.last_heard_s != heard_s)
    assert rig.slow == 0
    await until(lambda: rig.slow)
    assert rig.sent == ["abort"]


async def test_what_is_written_to_a_slow_peer_meanwhile_does_not_hide_that_it_reads() -> None:
    rig = Rig(drain_timeout_s=0.05)
    rig.socket.buffered = 3 << 20
    rig.transport.pause_writing()
    heard_s = rig.transport.last_heard_s
    rig.transport.write(b"x" * 10)
    rig.socket.buffered += 10 - 1
    await until(lambda: rig.transport.last_heard_s != heard_s)
    assert rig.slow == 0


async def test_the_receiver_hears_when_its_peer_has_read(rig: Rig) -> None:
    rig.socket.buffered = 3 << 20
    rig.transport.pause_writing()
    rig.socket.buffered = 0
    rig.transport.resume_writing()
    assert rig.receiver.told == ["paused", "resumed"]


async def test_a_peer_held_back_is_not_read_for_a_second_at_most(rig: Rig) -> None:
    rig.transport.hold(0.01)
    rig.transport.hold(0.03)
    assert rig.sent == ["pause reading"]
    await until(lambda: rig.sent[-1] == "resume reading")
    rig.transport.hold(1000)
    assert rig.transport._hold is not None
    in_s = rig.transport._hold.when() - asyncio.get_running_loop().time()
    assert in_s <= HOLD_MAX_S
    rig.transport.connection_lost(None)
    assert rig.transport._hold.cancelled()


async def test_pings_are_answered_in_order_and_a_flood_is_cut_short(rig: Rig) -> None:
    pings = [client_frame(PING, b"%d" % number) for number in range(100)]
    rig.transport.data_received(b"".join(pings))
    await turn()
    answered = [int(frame.payload) for data in rig.sent for frame, _ in split_server_frames(data)]
    assert answered == [*range(32), 99]
    rig.transport.data_received(pings[7])
    assert len(rig.sent) == 34


async def test_a_timer_runs_only_while_something_ends(rig: Rig) -> None:
    assert rig.transport._deadline is None
    rig.transport.close(1000)
    assert rig.transport._deadline is not None
    rig.transport.connection_lost(None)
    assert rig.transport._deadline is None
