"""Peers that do not read are cut off at their limit and cost nobody else anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.websocket_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    client_frame,
)
from tests.support.websocket_echo import LOOPS, ServerThread
from tidewire.protocol.websocket.frames import binary_frame, text_frame
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import PONGS_PER_TURN_MAX

LIMIT = 256 << 10
MESSAGE = text_frame(b"m" * 2000)


@pytest.fixture(params=sorted(LOOPS))
def server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    limits = SocketLimits(write_buffer_bytes=LIMIT, drain_timeout_s=1.0, close_timeout_s=0.4)
    with ServerThread(loop=request.param, limits=limits) as running:
        yield running
        assert running.errors == []


def fan_out(server: ServerThread, data: bytes, count: int, *, receivers: int = 1) -> None:
    """Write to every receiver, `count` times in one turn, as the engine does."""
    server.receiver(receivers - 1)

    def write() -> None:
        for receiver in list(server.receivers):
            for _ in range(count):
                receiver.transport.write(data)

    server.call(write)


def buffered(server: ServerThread, at: int) -> int:
    transport = server.receiver(at).transport
    return server.call(transport._transport.get_write_buffer_size)


def test_a_peer_that_never_reads_is_cut_and_the_others_get_everything(
    server: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    rounds, per_round = 40, 25
    counts = [0, 0, 0]

    def read(at: int, client: Client) -> None:
        while counts[at] < rounds * per_round:
            assert client.frame() == Frame(TEXT, b"m" * 2000)
            counts[at] += 1

    stalled = Client(server.address, receive_buffer=4096)
    stalled.upgrade()
    server.receiver()  # the first
    readers = [Client(server.address) for _ in range(3)]
    for client in readers:
        client.upgrade()
    threads = [threading.Thread(target=read, args=pair) for pair in enumerate(readers)]
    for thread in threads:
        thread.start()
    most = 0
    for done in range(rounds):
        fan_out(server, MESSAGE, per_round, receivers=4)
        if server.slow_consumers == 0:
            most = max(most, buffered(server, 0))
        # The readers keep pace, as on a network that is fast enough.
        server.wait_for(lambda done=done: min(counts) >= done * per_round)
    for thread in threads:
        thread.join(10)
    assert counts == [rounds * per_round] * 3
    assert server.slow_consumers == 1
    assert most <= LIMIT * 1.2 + len(MESSAGE)
    stalled_receiver, *others = server.receivers
    assert stalled_receiver.close_codes == [None]
    assert all(other.close_codes == [] for other in others)
    for client in (stalled, *readers):
        client.reset()
    cuts = [record for record in caplog.records if record.message == "slow consumer cut off"]
    assert len(cuts) == 1
    assert "mmm" not in str(vars(cuts[0]))


def test_the_cut_never_happens_within_a_write(server: ServerThread) -> None:
    with Client(server.address, receive_buffer=4096) as stalled:
        stalled.upgrade()
        receiver = server.receiver()
        seen: list[list[int | None]] = []

        def write() -> None:
            for _ in range(1000):
                receiver.transport.write(MESSAGE)
                seen.append(list(receiver.close_codes))

        server.call(write)
        assert seen == [[]] * 1000
        server.wait_for(lambda: receiver.close_codes == [None])
        assert server.slow_consumers == 1


def test_a_healthy_peer_may_get_a_message_longer_than_the_limit(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        big = bytes(8 * LIMIT)
        for _ in range(3):
            fan_out(server, binary_frame(big), 1)
            fan_out(server, text_frame(b"behind it"), 1)
            assert client.frame() == Frame(BINARY, big)
            assert client.frame() == Frame(TEXT, b"behind it")
        assert server.slow_consumers == 0
        client.reset()


def test_a_peer_stuck_behind_one_long_message_is_cut_in_time(server: ServerThread) -> None:
    with Client(server.address, receive_buffer=4096) as stalled:
        stalled.upgrade()
        fan_out(server, binary_frame(bytes(8 * LIMIT)), 1)
        server.wait_for(lambda: server.slow_consumers == 1)
        server.wait_for(lambda: server.receivers[0].close_codes == [None])


def test_a_closing_peer_that_does_not_read_is_cut_in_time(server: ServerThread) -> None:
    with Client(server.address, receive_buffer=4096) as stalled:
        stalled.upgrade()
        fan_out(server, MESSAGE, LIMIT // len(MESSAGE) // 2)
        transport = server.receiver().transport
        server.call(lambda: transport.close(1000))
        server.wait_for(lambda: server.receivers[0].close_codes == [None])
        assert server.connection_count == 0


def test_memory_is_bounded_by_the_limit_of_each_stalled_peer(server: ServerThread) -> None:
    stalled = [Client(server.address, receive_buffer=4096) for _ in range(20)]
    for client in stalled:
        client.upgrade()
    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0
    for _ in range(100):
        fan_out(server, MESSAGE, 25, receivers=20)
        peak = max(peak, process.memory_info().rss - before)
    server.wait_for(lambda: server.slow_consumers == 20)
    # 100 MB were written; an asyncio buffer may hold its bytes twice while it grows.
    assert peak < 2.5 * LIMIT * len(stalled)
    for client in stalled:
        client.reset()


def test_pings_of_a_peer_that_does_not_read_are_bounded_too(server: ServerThread) -> None:
    with Client(server.address, receive_buffer=4096) as stalled:
        stalled.upgrade()
        flood = client_frame(PING, b"p" * 125) * 100
        stalled.socket.settimeout(1)
        try:
            for _ in range(2000):
                stalled.send(flood)
        except OSError:
            pass
        server.wait_for(lambda: server.receivers[0].close_codes or server.slow_consumers == 0)
        transport = server.receiver().transport
        size = server.call(transport._transport.get_write_buffer_size)
        assert size <= LIMIT * 1.3
        stalled.reset()


def test_a_peer_that_is_held_back_is_not_read_and_then_read_again(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        transport = server.receiver().transport
        client.send(client_frame(TEXT, b"before"))
        assert client.frame() == Frame(TEXT, b"before")
        started = time.monotonic()
        server.call(lambda: transport.hold(0.4))
        client.send(client_frame(TEXT, b"meanwhile"))
        assert client.frame() == Frame(TEXT, b"meanwhile")
        assert 0.35 < time.monotonic() - started < 5
        server.call(lambda: transport.hold(60.0))
        client.send(client_frame(CLOSE))
        assert client.frames_to_end() == [Frame(CLOSE, b"")]
        assert time.monotonic() - started < 10


def test_of_a_flood_of_pings_the_first_and_the_last_are_answered(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        count = 20 * PONGS_PER_TURN_MAX
        client.send(b"".join(client_frame(PING, b"%d" % number) for number in range(count)))
        answered = []
        while not answered or answered[-1] != count - 1:
            frame = client.frame()
            assert frame is not None
            assert frame.opcode == PONG
            answered.append(int(frame.payload))
        assert answered == sorted(set(answered))
        assert answered[:PONGS_PER_TURN_MAX] == list(range(PONGS_PER_TURN_MAX))
        client.send(client_frame(CLOSE))
        assert client.frames_to_end() == [Frame(CLOSE, b"")]
