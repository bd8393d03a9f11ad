"""Who is on a topic. Source: wire specification 5, and the promise of design 5.5."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer
from tests.support.stock_js import JsProcess, StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import unused_name

GRACE_S = 3.0


def key(name: str) -> dict[str, Any]:
    return {"presence": {"key": name, "enabled": True}}


async def track(raw: RawSocket, topic: str, payload: Any, event: str = "track") -> Any:
    return await raw.ask(
        topic, "presence", {"type": "presence", "event": event, "payload": payload}
    )


async def next_diff(raw: RawSocket) -> tuple[dict[str, Any], dict[str, Any]]:
    payload = (await raw.next("presence_diff"))[4]
    assert set(payload) == {"joins", "leaves"}
    return payload["joins"], payload["leaves"]


async def test_two_clients_see_each_other_come_and_go(stock: MakeClient) -> None:
    topic = unused_name("room")
    ann = await (await stock()).channel(topic, config=key("ann"), presence=True)
    bob = await (await stock()).channel(topic, config=key("bob"), presence=True)
    await ann.subscribe()
    await ann.track({"name": "Ann", "at": [1, 2]})
    assert await ann.joins.next() == ("ann", [{"name": "Ann", "at": [1, 2]}])
    await bob.subscribe()
    await bob.track({"name": "Bob"})
    both = {"ann": [{"name": "Ann", "at": [1, 2]}], "bob": [{"name": "Bob"}]}
    for channel in (ann, bob):
        await channel.syncs.next(lambda state: state == both)
        assert await channel.presence() == both
    await bob.leave()
    assert await ann.leaves.next() == ("bob", [{"name": "Bob"}])
    await ann.syncs.next(lambda state: set(state) == {"ann"})
    await ann.untrack()
    assert await ann.leaves.next() == ("ann", [{"name": "Ann", "at": [1, 2]}])
    await ann.syncs.next(lambda state: state == {})


async def test_the_state_comes_right_after_the_reply_of_the_join(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as first,
        raw_socket(server.url, server.anon_key) as second,
        raw_socket(server.url, server.anon_key, vsn="1.0.0") as third,
    ):
        join_ref, _ = await first.join(topic, key("ann"))
        empty = await first.next("presence_state")
        assert empty == [join_ref, None, topic, "presence_state", {}]
        await track(first, topic, {"name": "Ann"})
        for raw in (second, third):
            join_ref, _ = await raw.join(topic, key("late"))
            state = await raw.next("presence_state")
            assert state[0] == (join_ref if raw is second else None)
            assert state[1] is None
            metas = state[4]["ann"]["metas"]
            assert [meta["name"] for meta in metas] == ["Ann"]
            assert isinstance(metas[0]["phx_ref"], str)
            assert [frame[3] for frame in raw.frames.seen] == ["phx_reply", "presence_state"]


async def test_without_enabled_no_state_is_sent_but_diffs_are(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as present,
        raw_socket(server.url, server.anon_key) as watching,
    ):
        await watching.join(topic, {"presence": {"key": "w", "enabled": False}})
        await present.join(topic, key("ann"))
        assert (await track(present, topic, {"x": 1}))["status"] == "ok"
        joins, leaves = await next_diff(watching)
        assert list(joins) == ["ann"]
        assert leaves == {}
        assert "presence_state" not in [frame[3] for frame in watching.frames.seen]


async def test_a_first_track_switches_presence_on_and_brings_the_state(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as present,
        raw_socket(server.url, server.anon_key) as late,
    ):
        await present.join(topic, key("ann"))
        await track(present, topic, {"x": 1})
        join_ref, _ = await late.join(topic, {"presence": {"key": "bob", "enabled": False}})
        await late.heartbeat()
        assert "presence_state" not in [frame[3] for frame in late.frames.seen]
        assert (await track(late, topic, {"x": 2}))["status"] == "ok"
        state = await late.next("presence_state")
        assert state[:2] == [join_ref, None]
        assert set(state[4]) == {"ann", "bob"}
        await track(late, topic, {"x": 3})
        await late.heartbeat()
        states = [frame for frame in late.frames.seen if frame[3] == "presence_state"]
        assert len(states) == 1  # once is enough


async def test_a_channel_joined_again_on_the_same_socket_keeps_its_presence(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as watching,
        raw_socket(server.url, server.anon_key) as raw,
    ):
        await watching.join(topic, key("w"))
        await raw.join(topic, key("ann"))
        await track(raw, topic, {"x": 1})
        await next_diff(watching)
        await raw.join(topic, key("ann"))
        await track(raw, topic, {"x": 1})
        await raw.ask(topic, "phx_leave", {})
        joins, leaves = await next_diff(watching)
        assert (joins, list(leaves)) == ({}, ["ann"])  # nothing was told in between


async def test_an_update_is_one_diff_with_both_metas(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join(topic, key("ann"))
        await track(raw, topic, {"v": 1})
        joins, _ = await next_diff(raw)
        old = joins["ann"]["metas"][0]
        await track(raw, topic, {"v": 2})
        joins, leaves = await next_diff(raw)
        new = joins["ann"]["metas"][0]
        assert (new["v"], new["phx_ref_prev"]) == (2, old["phx_ref"])
        assert new["phx_ref"] != old["phx_ref"]
        assert leaves["ann"]["metas"] == [old]


async def test_tracking_the_same_again_is_ok_and_says_nothing(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join(topic, key("ann"))
        await track(raw, topic, {"v": 1})
        await next_diff(raw)
        assert await track(raw, topic, {"v": 1}) == {"status": "ok", "response": {}}
        await track(raw, topic, {"v": 2})
        joins, _ = await next_diff(raw)
        assert joins["ann"]["metas"][0]["v"] == 2


async def test_several_sockets_with_one_key_are_several_metas(stock: MakeClient) -> None:
    topic = unused_name("room")
    tabs = [await (await stock()).channel(topic, config=key("ann"), presence=True) for _ in "ab"]
    for number, tab in enumerate(tabs):
        await tab.subscribe()
        await tab.track({"tab": number})
    both = [{"tab": 0}, {"tab": 1}]
    for tab in tabs:
        await tab.syncs.next(
            lambda state: sorted(state.get("ann", []), key=lambda meta: meta["tab"]) == both
        )
    await tabs[0].leave()
    await tabs[1].syncs.next(lambda state: state == {"ann": [{"tab": 1}]})


async def test_an_update_shows_the_newest_payload_at_every_client(
    server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    py = PyClient(server.url, server.anon_key)
    watchers = [
        await (await js.client(server.url, server.anon_key)).channel(topic, presence=True),
        await (await js.client(server.url, server.anon_key, vsn="1.0.0")).channel(
            topic, presence=True
        ),
        await py.channel(topic, presence=True),
    ]
    moving = await (await js.client(server.url, server.anon_key)).channel(topic, config=key("ann"))
    for channel in (*watchers, moving):
        await channel.subscribe()
    for number in range(5):
        await moving.track({"n": number})
    for watcher in watchers:
        await watcher.syncs.next(lambda state: state.get("ann") == [{"n": 4}])
        assert (await watcher.presence())["ann"] == [{"n": 4}]
    await py.close()


@pytest.mark.parametrize("payload", ["text", 7, [1], None, True])
async def test_a_payload_that_is_no_object_is_refused(server: TidewireServer, payload: Any) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:odd-presence", key("ann"))
        reply = await track(raw, "realtime:odd-presence", payload)
        assert reply["status"] == "error"
        assert reply["response"] == {"reason": "Presence track payload must be a map"}


async def test_odd_presence_pushes_get_their_answer_and_harm_nothing(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join(topic, key("ann"))
        assert (await raw.ask(topic, "presence", {}))["status"] == "ok"
        assert (await raw.ask(topic, "presence", {"event": "dance"}))["status"] == "error"
        assert (await raw.ask(topic, "presence", {"event": "untrack"}))["status"] == "ok"
        assert (await track(raw, topic, {"x": 1}, "TRACK"))["status"] == "ok"
        assert (await raw.ask(topic, "presence", {"event": "untrack", "payload": {}}))[
            "status"
        ] == "ok"
        joins, _ = await next_diff(raw)
        assert list(joins) == ["ann"]


async def test_an_empty_key_gets_one_from_the_server(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with (
        raw_socket(server.url, server.anon_key) as first,
        raw_socket(server.url, server.anon_key) as second,
    ):
        await first.join(topic, key(""))
        await second.join(topic, key(""))
        for raw in (first, second):
            assert (await track(raw, topic, {"x": 1}))["status"] == "ok"
        state: dict[str, Any] = {}
        while len(state) < 2:
            joins, _ = await next_diff(first)
            state.update(joins)
        assert all(len(name) > 8 for name in state)


async def test_a_clean_end_leaves_at_once(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as watching:
        await watching.join(topic, key("w"))
        for end in ("phx_leave", "close 1000", "close 1001"):
            async with raw_socket(server.url, server.anon_key) as raw:
                await raw.join(topic, key("ann"))
                await track(raw, topic, {"x": 1})
                await next_diff(watching)
                started = time.monotonic()
                if end == "phx_leave":
                    await raw.ask(topic, "phx_leave", {})
                else:
                    await raw.socket.close(int(end[6:]))
                _, leaves = await next_diff(watching)
                assert list(leaves) == ["ann"], end
                assert time.monotonic() - started < 1, end


async def test_an_abrupt_end_is_kept_for_the_grace_and_then_told(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as watching:
        await watching.join(topic, key("w"))
        async with raw_socket(server.url, server.anon_key) as raw:
            await raw.join(topic, key("ann"))
            await track(raw, topic, {"x": 1})
            await next_diff(watching)
            started = time.monotonic()
            raw.abort()
            _, leaves = await next_diff(watching)
            assert list(leaves) == ["ann"]
            assert GRACE_S - 0.5 < time.monotonic() - started < GRACE_S + 2


async def test_a_key_that_returns_within_the_grace_shows_no_flicker(
    server: TidewireServer,
) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as watching:
        await watching.join(topic, key("w"))
        async with raw_socket(server.url, server.anon_key) as raw:
            await raw.join(topic, key("ann"))
            await track(raw, topic, {"x": 1})
            await next_diff(watching)
            raw.abort()
            await raw.wait_closed()
        async with raw_socket(server.url, server.anon_key) as raw:
            await raw.join(topic, key("ann"))
            await track(raw, topic, {"x": 1})
            state: dict[str, list[str]] = {"ann": ["first"]}
            deadline = time.monotonic() + GRACE_S + 1.5
            while (left_s := deadline - time.monotonic()) > 0:
                try:
                    payload = (await watching.next("presence_diff", within_s=left_s))[4]
                except AssertionError:
                    break
                joined = len(payload["joins"].get("ann", {}).get("metas", []))
                left = len(payload["leaves"].get("ann", {}).get("metas", []))
                state["ann"] = state["ann"][left:] + ["meta"] * joined
                assert state["ann"], "Ann vanished although she was back"
            assert len(state["ann"]) == 1


async def test_a_killed_process_of_a_stock_client_is_gone_within_the_promised_time(
    server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    watching = await (await js.client(server.url, server.anon_key)).channel(topic, presence=True)
    await watching.subscribe()
    process = await asyncio.to_thread(JsProcess)
    doomed = StockJs(process)
    channel = await (await doomed.client(server.url, server.anon_key)).channel(
        topic, config=key("ann"), presence=True
    )
    await channel.subscribe()
    await channel.track({"x": 1})
    await watching.joins.next()
    doomed.abandon()
    started = time.monotonic()
    await asyncio.to_thread(process.kill)
    assert (await watching.leaves.next())[0] == "ann"
    assert time.monotonic() - started < 5


async def test_a_stopped_process_of_a_stock_client_is_gone_within_the_promised_time(
    server: TidewireServer, js: StockJs
) -> None:
    """A laptop that sleeps: the socket stays, nobody answers."""
    topic = unused_name("room")
    watching = await (await js.client(server.url, server.anon_key)).channel(topic, presence=True)
    await watching.subscribe()
    process = await asyncio.to_thread(JsProcess)
    doomed = StockJs(process)
    channel = await (await doomed.client(server.url, server.anon_key)).channel(
        topic, config=key("ann"), presence=True
    )
    await channel.subscribe()
    await channel.track({"x": 1})
    await watching.joins.next()
    doomed.abandon()
    started = time.monotonic()
    process.freeze()
    try:
        assert (await watching.leaves.next())[0] == "ann"
        assert time.monotonic() - started < 5.5
    finally:
        await asyncio.to_thread(process.kill)


async def test_a_half_open_peer_is_gone_within_five_seconds(server: TidewireServer) -> None:
    topic = f"realtime:{unused_name('room')}"
    async with raw_socket(server.url, server.anon_key) as watching:
        await watching.join(topic, key("w"))
        async with raw_socket(server.url, server.anon_key) as raw:
            await raw.join(topic, key("ann"))
            await track(raw, topic, {"x": 1})
            await next_diff(watching)
            started = time.monotonic()
            raw.socket.transport.pause_reading()  # neither reads nor answers pings any more
            _, leaves = await next_diff(watching)
            assert list(leaves) == ["ann"]
            assert time.monotonic() - started < 5.5
            raw.abort()
