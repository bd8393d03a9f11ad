"""Random frame streams at a real server: it stays alive, forgets them, and serves the others.

A failing seed is in the test's name. `-m soak` runs two hundred times as many.
"""

from __future__ import annotations

import random

import pytest

from tests.support.websocket_client import DEFLATE, TEXT, Client, Frame, client_frame
from tests.support.websocket_echo import ServerThread

HUGE = (2**64 - 1, 2**63, 2**63 - 1, 2**62, 2**32, 2**31, 70_000, 5, 0)


def random_frame(rnd: random.Random) -> bytes:
    payload = rnd.randbytes(rnd.choice((0, 1, 2, 5, 125, 126, 200, 3000)))
    kind = rnd.random()
    if kind < 0.45:
        opcode, reserved = rnd.choice((0, 1, 2, 8, 9, 10)), rnd.choice((0, 0, 0, 4, 1, 2))
        return client_frame(opcode, payload, final=rnd.random() < 0.6, reserved=reserved)
    if kind < 0.55:
        return client_frame(rnd.randrange(16), payload, masked=rnd.random() < 0.5)
    if kind < 0.7:
        length, width = rnd.choice(HUGE), rnd.choice((2, 8))
        return client_frame(rnd.choice((0, 1, 2)), payload, length=length, width=width)
    if kind < 0.9:
        return client_frame(TEXT, b"fine")
    return rnd.randbytes(rnd.randint(1, 40))


def throw(server: ServerThread, rnd: random.Random) -> None:
    client = Client(server.address)
    client.upgrade(extensions=DEFLATE if rnd.random() < 0.3 else "")
    data = b"".join(random_frame(rnd) for _ in range(rnd.randint(1, 6)))
    try:
        client.send(data, chop=rnd.choice((None, None, 7)))
        client.socket.settimeout(0.002)
        client.receive()
    except OSError:
        pass  # cut off in mid-sentence, or nothing to say
    client.reset()


def run(server: ServerThread, seed: int, count: int) -> None:
    rnd = random.Random(seed)
    with Client(server.address) as bystander:
        bystander.upgrade()
        for number in range(count):
            throw(server, rnd)
            if number % 50 == 49:
                bystander.send(client_frame(TEXT, b"%d" % number))
                assert bystander.frame() == Frame(TEXT, b"%d" % number)
        server.wait_for(lambda: server.connection_count == 1)
        bystander.reset()
    server.wait_for(lambda: server.connection_count == 0)
    assert server.errors == []


@pytest.mark.parametrize("seed", range(3))
def test_random_frames_harm_nobody(echo_server: ServerThread, seed: int) -> None:
    run(echo_server, seed, 100)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_random_frames_harm_nobody(echo_server: ServerThread, seed: int) -> None:
    run(echo_server, seed, 1000)
