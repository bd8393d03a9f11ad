from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.support.fake_realtime import DEADLINE_S, FakeRealtime, fake_realtime, refuse_join, system
from tidewire.client import Change, ClientSettings, ConnectionState, RealtimeClient, Status
from tidewire.client.changes import decode_change
from tidewire.client.errors import (
    ChangesLostError,
    ChannelClosedError,
    ConnectionRefusedByServerError,
    SubscriptionRefusedError,
)
from tidewire.core.errors import ProtocolViolationError

QUICK = ClientSettings(backoff_base_s=0.01, backoff_max_s=0.05)
TOPIC = "realtime:tidewire-changes-1"


@pytest.fixture
async def server() -> AsyncIterator[FakeRealtime]:
    async with fake_realtime() as server, asyncio.timeout(DEADLINE_S * 2):
        yield server


def change_payload(number: int = 1, **more: Any) -> dict[str, Any]:
    data = {
        "schema": "public",
        "table": "trips",
        "type": "INSERT",
        "commit_timestamp": "2026-09-30T10:11:12.345Z",
        "columns": [{"name": "id", "type": "int8"}],
        "record": {"id": number},
        "errors": None,
    }
    return {"ids": [1], "data": {**data, **more}}


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def test_an_insert_has_a_new_row_and_no_old_one() -> None:
    change = decode_change(raw(change_payload(7)))
    stamp = "2026-09-30T10:11:12.345Z"
    assert change == Change("INSERT", "public", "trips", {"id": 7}, None, stamp)


def test_a_delete_has_an_old_row_and_no_new_one() -> None:
    payload = change_payload(type="DELETE", old_record={"id": 7})
    del payload["data"]["record"]
    change = decode_change(raw(payload))
    assert (change.new, change.old) == (None, {"id": 7})


def test_numerics_and_large_integers_keep_every_digit() -> None:
    columns = [
        {"name": name, "type": kind}
        for name, kind in zip(
            "abcde", ("numeric", "int8", "float8", "_numeric", "numeric"), strict=True
        )
    ]
    record = (
        b'{"a":12345678901234567890.123400,"b":9007199254740993,"c":1.5,"d":[0.10,null],"e":null}'
    )
    payload = change_payload(columns=columns, record=msgspec.Raw(record))
    new = decode_change(raw(payload)).new
    assert new is not None
    assert str(new["a"]) == "12345678901234567890.123400"
    assert new["b"] == 9007199254740993
    assert isinstance(new["c"], float)
    assert new["d"] == [Decimal("0.10"), None]
    assert new["e"] is None


@pytest.mark.parametrize("payload", [[], {}, {"data": {"type": 1}}, {"data": 5}])
def test_what_is_no_change_is_a_protocol_violation(payload: object) -> None:
    with pytest.raises(ProtocolViolationError):
        decode_change(raw(payload))


async def test_changes_arrive_in_order_and_the_subscription_says_what_was_asked(
    server: FakeRealtime,
) -> None:
    async with (
        RealtimeClient(server.url, "key", access_token="token", settings=QUICK) as client,
        client.changes("trips", event="UPDATE", filter="id=gt.1") as changes,
    ):
        for number in range(3):
            await server.push(TOPIC, "postgres_changes", change_payload(number))
        assert [(await anext(changes)).new for _ in range(3)] == [{"id": n} for n in range(3)]
    join = server.frames("phx_join")[0][4]
    assert join["access_token"] == "token"
    entry = {"event": "UPDATE", "schema": "public", "table": "trips", "filter": "id=gt.1"}
    assert join["config"]["postgres_changes"] == [entry]


async def test_two_streams_share_a_link_and_do_not_mix(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        async with client.changes("trips"), client.changes("notes") as notes:
            await server.push(TOPIC, "postgres_changes", change_payload(1))
            await server.push("realtime:tidewire-changes-2", "postgres_changes", change_payload(2))
            assert (await anext(notes)).new == {"id": 2}
        assert len(server.upgrades) == 1


async def test_leaving_early_leaves_the_channel_and_keeps_the_link(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        async with client.changes("trips"):
            pass
        await server.wait_until(lambda: server.frames("phx_leave"))
        assert len(server.sockets) == 1
    await server.wait_until(lambda: not server.sockets)


async def test_a_closed_stream_gives_what_waits_and_ends(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        await server.push(TOPIC, "postgres_changes", change_payload(1))
        assert (await anext(changes)).new == {"id": 1}
        await changes.aclose()
        assert [change async for change in changes] == []
        with pytest.raises(ChannelClosedError):
            await changes.ready()


async def test_closing_the_client_ends_its_streams(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
    assert [change async for change in changes] == []


async def test_a_refused_subscription_is_raised_with_its_message(server: FakeRealtime) -> None:
    server.system_answer = system("error", "invalid column for filter x")
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips", filter="x=eq.1")
        with pytest.raises(SubscriptionRefusedError, match="invalid column for filter x"):
            await changes.ready()
        with pytest.raises(SubscriptionRefusedError):
            await anext(changes)


async def test_a_join_refused_for_good_is_raised_with_its_code(server: FakeRealtime) -> None:
    server.join_answer = refuse_join("InvalidJWTToken: Token has expired 5 seconds ago")
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        with pytest.raises(SubscriptionRefusedError, match="expired 5 seconds") as refused:
            await anext(client.changes("trips"))
    assert refused.value.kind == "InvalidJWTToken"


async def test_a_join_refused_for_now_is_tried_again(server: FakeRealtime) -> None:
    server.join_answer = refuse_join("InitializingProjectConnection: wait")
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        ready = asyncio.ensure_future(client.changes("trips").ready())
        await server.wait_until(lambda: len(server.frames("phx_join")) >= 3)
        server.join_answer = FakeRealtime().join_answer
        await ready


async def test_an_unanswered_join_is_tried_again(server: FakeRealtime) -> None:
    server.answers_joins = False
    settings = msgspec.structs.replace(QUICK, join_timeout_s=0.05)
    async with RealtimeClient(server.url, "key", settings=settings) as client:
        ready = asyncio.ensure_future(client.changes("trips").ready())
        await server.wait_until(lambda: len(server.frames("phx_join")) >= 2)
        server.answers_joins = True
        await ready


async def test_a_channel_that_failed_on_the_server_is_joined_again(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        await server.push(TOPIC, "phx_error", {"reason": "channel_crash"})
        await server.wait_until(lambda: len(server.frames("phx_join")) == 2)
        assert changes.interruptions == 1


async def test_a_channel_closed_by_the_server_ends_the_stream_with_its_reason(
    server: FakeRealtime,
) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        expired = system("error", "Token has expired 3 seconds ago", extension="system")
        await server.push(TOPIC, "system", expired)
        await server.push(TOPIC, "phx_close", {})
        with pytest.raises(ChannelClosedError, match="Token has expired 3 seconds ago"):
            await anext(changes)


async def test_frames_of_an_earlier_join_are_ignored(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        await server.push(TOPIC, "phx_close", {}, join_ref="999", ref="999")
        await server.push(TOPIC, "postgres_changes", change_payload(1))
        assert (await anext(changes)).new == {"id": 1}
        assert changes.interruptions == 0


async def test_the_subscription_comes_back_after_a_broken_link(server: FakeRealtime) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips")
        await changes.ready()
        server.drop_links()
        await server.wait_until(lambda: len(server.frames("phx_join")) == 2)
        await server.push(TOPIC, "postgres_changes", change_payload(2))
        assert (await anext(changes)).new == {"id": 2}
        assert changes.interruptions == 1


async def test_a_link_that_worked_starts_again_from_the_shortest_wait(
    server: FakeRealtime,
) -> None:
    waits: list[int] = []

    def on_status(status: Status) -> None:
        if status.state is ConnectionState.WAITING:
            waits.append(status.attempt)

    async with RealtimeClient(server.url, "key", settings=QUICK, on_status=on_status) as client:
        changes = client.changes("trips")
        await changes.ready()
        for number in range(3):
            server.drop_links()
            await server.wait_until(lambda: len(server.frames("phx_join")) == number + 2)  # noqa: B023 - awaited within the round
            await server.push(TOPIC, "postgres_changes", change_payload(number))
            assert (await anext(changes)).new == {"id": number}
        channel = changes._channel
        assert channel is not None
        assert channel._backoff.attempt <= 1
    assert waits == [1, 1, 1]


async def test_a_full_queue_gives_what_waits_and_then_says_that_changes_were_lost(
    server: FakeRealtime,
) -> None:
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        changes = client.changes("trips", queue_count_max=2)
        await changes.ready()
        for number in range(3):
            await server.push(TOPIC, "postgres_changes", change_payload(number))
        await server.wait_until(lambda: server.frames("phx_leave"))
        assert [(await anext(changes)).new for _ in range(2)] == [{"id": 0}, {"id": 1}]
        with pytest.raises(ChangesLostError):
            await anext(changes)


async def test_a_key_refused_by_the_server_is_raised_to_whoever_waits(
    server: FakeRealtime,
) -> None:
    from http import HTTPStatus

    server.refusal = (HTTPStatus.UNAUTHORIZED, '{"error":"Token has expired"}')
    async with RealtimeClient(server.url, "key", settings=QUICK) as client:
        with pytest.raises(ConnectionRefusedByServerError, match="Token has expired") as refused:
            await anext(client.changes("trips"))
        with pytest.raises(ConnectionRefusedByServerError):
            await client.wait_connected()
        with pytest.raises(ConnectionRefusedByServerError):
            await client.changes("trips").ready()
    assert refused.value.status == 401
    assert len(server.upgrades) == 1
