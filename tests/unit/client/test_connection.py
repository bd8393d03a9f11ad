from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

import msgspec
import pytest

from tests.support.fake_realtime import DEADLINE_S, FakeRealtime, fake_realtime
from tidewire.client import ClientSettings, ConnectionState, RealtimeClient, Status
from tidewire.client.connection import _loopback_of, endpoint_of
from tidewire.core.errors import InvalidRequestError

QUICK = ClientSettings(backoff_base_s=0.01, backoff_max_s=0.05)


@pytest.fixture
async def server() -> AsyncIterator[FakeRealtime]:
    async with fake_realtime() as server, asyncio.timeout(DEADLINE_S * 2):
        yield server


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:1", "ws://h:1/realtime/v1/websocket?vsn=2.0.0"),
        ("https://h/", "wss://h/realtime/v1/websocket?vsn=2.0.0"),
        ("ws://h/base/realtime/v1", "ws://h/base/realtime/v1/websocket?vsn=2.0.0"),
        ("wss://h/realtime/v1/websocket", "wss://h/realtime/v1/websocket?vsn=2.0.0"),
        ("ws://h/socket", "ws://h/socket/websocket?vsn=2.0.0"),
    ],
)
def test_the_endpoint_is_derived_from_the_address(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint


@pytest.mark.parametrize("url", ["", "localhost:4000", "ftp://h", "http://", "/x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        endpoint_of(url)


async def test_the_key_travels_in_a_header_and_not_in_the_address(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "the-key", settings=QUICK) as client:
        await client.wait_connected()
    assert server.upgrades[0].headers["x-api-key"] == "the-key"
    assert "the-key" not in server.upgrades[0].path


async def test_a_quiet_link_is_asked_for_a_sign_of_life(server: FakeRealtime) -> None:
    settings = msgspec.structs.replace(QUICK, quiet_s=0.02)
    async with RealtimeClient(server.url, "key", settings=settings):
        await server.wait_until(lambda: len(server.frames("heartbeat")) >= 3)
    assert len(server.upgrades) == 1


async def test_a_busy_link_still_sends_heartbeats(server: FakeRealtime) -> None:
    settings = msgspec.structs.replace(QUICK, quiet_s=60, heartbeat_interval_s=0.05)
    async with RealtimeClient(server.url, "key", settings=settings):
        await server.wait_until(lambda: len(server.frames("heartbeat")) >= 3)


async def test_a_link_that_went_silent_is_replaced(server: FakeRealtime) -> None:
    server.answers_heartbeats = False
    settings = msgspec.structs.replace(QUICK, quiet_s=0.05, heartbeat_timeout_s=0.05)
    statuses: list[Status] = []
    async with RealtimeClient(server.url, "key", settings=settings, on_status=statuses.append):
        await server.wait_until(lambda: len(server.upgrades) >= 2)
    waiting = [status for status in statuses if status.state is ConnectionState.WAITING]
    assert waiting[0].detail == "the server did not answer a heartbeat"


async def test_the_status_tells_the_life_of_the_link(server: FakeRealtime) -> None:
    statuses: list[Status] = []
    async with RealtimeClient(
        server.url, "key", settings=QUICK, on_status=statuses.append
    ) as client:
        await client.wait_connected()
        server.drop_links()
        await server.wait_until(lambda: len(server.upgrades) == 2)
        await client.wait_connected()
    states = [status.state.value for status in statuses]
    assert states == ["connecting", "connected", "waiting", "connecting", "connected", "closed"]


async def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    async with fake_realtime() as server, asyncio.timeout(DEADLINE_S):
        url, port = server.url, server.port
        await server.stop()
        third_attempt = asyncio.Event()

        def on_status(status: Status) -> None:
            if status.attempt == 3:
                third_attempt.set()

        async with RealtimeClient(url, "key", settings=QUICK, on_status=on_status) as client:
            await third_attempt.wait()
            await server.start(port=port)
            await client.wait_connected()


async def test_a_status_that_may_pass_is_not_final(server: FakeRealtime) -> None:
    server.refusal = (HTTPStatus.TOO_MANY_REQUESTS, '{"error":"Too many connected users"}')
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        await server.wait_until(lambda: len(server.upgrades) >= 3)
        server.refusal = None
        await client.wait_connected()


async def test_a_callback_that_raises_is_logged_and_harms_nothing(
    server: FakeRealtime, caplog: pytest.LogCaptureFixture
) -> None:
    def on_status(status: Status) -> None:
        raise ValueError(status)

    async with RealtimeClient(server.url, "key", settings=QUICK, on_status=on_status) as client:
        await client.wait_connected()
    assert "on_status raised" in caplog.messages


async def test_frames_that_are_none_are_dropped(
    server: FakeRealtime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        for frame in ("", "{}", "[1,2]", "[null,null,1,2,3]", b"\x04\x00"):
            await server.sockets[0].send(frame)
        await server.push("realtime:tidewire-changes-1", "unheard_of", {})
        await server.push("realtime:elsewhere", "postgres_changes", {})
        data = {"type": "INSERT", "schema": "s", "table": "t", "record": {}}
        await server.push("realtime:tidewire-changes-1", "postgres_changes", {"data": data})
        assert (await anext(changes)).table == "t"
    assert caplog.messages.count("frame dropped") == 4


async def test_waits_between_attempts_grow_within_their_bound() -> None:
    import random

    from tidewire.client.backoff import Backoff

    backoff = Backoff(0.2, 10.0, random.Random(7))
    for attempt in range(2000):
        assert 0 <= backoff.next_delay_s() <= min(10.0, 0.2 * 2 ** min(attempt, 30))
    assert backoff.attempt == 2000
    backoff.reset()
    assert backoff.next_delay_s() <= 0.2


@pytest.mark.parametrize(
    ("endpoint", "where"),
    [
        ("ws://acme.localhost:4000/x", {"host": "127.0.0.1", "port": 4000}),
        ("wss://acme.localhost/x", {"host": "127.0.0.1", "port": 443}),
        ("ws://acme.localhost.evil.example/x", {}),
        ("ws://localhost:4000/x", {}),
    ],
)
def test_names_below_localhost_are_this_machine(endpoint: str, where: dict[str, object]) -> None:
    assert _loopback_of(endpoint) == where
