"""Joining, leaving, joining again; tokens of a channel. Source: wire specification 2, 3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock_js import StockJs
from tests.support.tables import unused_name

BOTH = pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])


@BOTH
async def test_a_join_is_answered_with_its_refs_and_always_lists_its_changes(
    server: TidewireServer, vsn: str
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        await raw.send(["6", "7", "realtime:room:1", "phx_join", {"config": {}}])
        reply = await raw.next("phx_reply")
    join_ref = "6" if vsn == "2.0.0" else None
    ok = {"status": "ok", "response": {"postgres_changes": []}}
    assert reply == [join_ref, "7", "realtime:room:1", "phx_reply", ok]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"config": {}},
        {"config": None},
        {"config": 5},
        {"config": []},
        {"config": {"broadcast": "x", "presence": 1, "postgres_changes": None, "private": "no"}},
        {"config": {"postgres_changes": {}}},
        {"config": {"postgres_changes": "x"}},
        {"config": {"postgres_changes": [None]}},
        {"config": {"broadcast": {"ack": "TRUE", "self": 7}, "presence": {"key": {"a": 1}}}},
        {"config": {"unknown": {"deep": [1, 2]}}, "more": 1},
        {"config": {"presence": {"key": 7, "enabled": "True"}}},
        {"access_token": None, "user_token": None, "config": {}},
        [],
        "text",
        None,
        7,
    ],
)
@BOTH
async def test_a_join_with_wrong_types_joins_with_what_is_right(
    server: TidewireServer, vsn: str, payload: Any
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        await raw.send(["1", "1", "realtime:odd", "phx_join", payload])
        reply = await raw.next("phx_reply")
        assert reply[4]["status"] == "ok"
        assert isinstance(reply[4]["response"]["postgres_changes"], list)
        await raw.heartbeat()


async def test_booleans_of_a_join_may_be_strings_in_any_case(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        config = {"broadcast": {"ack": "TRUE", "self": "true"}}
        join_ref, _ = await raw.join("realtime:strings", config)
        payload = {"type": "broadcast", "event": "e", "payload": {"x": 1}}
        ack = await raw.ask("realtime:strings", "broadcast", payload, join_ref=join_ref)
        assert ack == {"status": "ok", "response": {}}
        assert (await raw.next("broadcast"))[4] == payload


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("realtime:", "TopicNameRequired: You must provide a topic name"),
        ("other:room", "unmatched topic"),
        ("", "unmatched topic"),
        ("realtime", "unmatched topic"),
        ("Realtime:x", "unmatched topic"),
    ],
)
@BOTH
async def test_a_join_of_no_topic_of_ours_is_refused(
    server: TidewireServer, vsn: str, topic: str, reason: str
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        _, reply = await raw.join(topic)
    assert reply == {"status": "error", "response": {"reason": reason}}


@BOTH
async def test_a_push_on_a_topic_not_joined_is_unmatched(server: TidewireServer, vsn: str) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        for event in ("broadcast", "presence", "access_token", "anything"):
            reply = await raw.ask("realtime:nowhere", event, {"type": "broadcast", "event": "e"})
            assert reply == {"status": "error", "response": {"reason": "unmatched topic"}}


@pytest.mark.parametrize(
    "topic", ["realtime:ünïcödé:🚆", "realtime:a b\tc", 'realtime:"\\', "realtime:*"]
)
async def test_a_topic_may_hold_any_text(server: TidewireServer, topic: str) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        _, reply = await raw.join(topic)
        assert reply["status"] == "ok"


@BOTH
async def test_a_leave_is_answered_and_then_closed(server: TidewireServer, vsn: str) -> None:
    """Without join_refs no close follows: it could hit the client's next join of the topic."""
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        join_ref, _ = await raw.join("realtime:leaving")
        ref = await raw.push("realtime:leaving", "phx_leave", {}, join_ref=join_ref)
        reply = await raw.next("phx_reply")
        shown = join_ref if vsn == "2.0.0" else None
        ok = {"status": "ok", "response": {}}
        assert reply == [shown, ref, "realtime:leaving", "phx_reply", ok]
        if vsn == "2.0.0":
            close = await raw.next("phx_close")
            assert close == [join_ref, join_ref, "realtime:leaving", "phx_close", {}]
        later = await raw.ask("realtime:leaving", "broadcast", {}, join_ref=join_ref)
        assert later["response"] == {"reason": "unmatched topic"}


@BOTH
async def test_a_leave_of_a_topic_not_joined_is_ok(server: TidewireServer, vsn: str) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        assert await raw.ask("realtime:x", "phx_leave", {}) == {"status": "ok", "response": {}}


async def test_a_leave_of_an_earlier_join_is_ignored(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        first, _ = await raw.join("realtime:again")
        second, _ = await raw.join("realtime:again", {"broadcast": {"ack": True}})
        await raw.push("realtime:again", "phx_leave", {}, join_ref=first)
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        ack = await raw.ask("realtime:again", "broadcast", payload, join_ref=second)
        assert ack == {"status": "ok", "response": {}}


@BOTH
async def test_a_second_join_takes_the_place_of_the_first_without_a_close(
    server: TidewireServer, vsn: str
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        await raw.join("realtime:twice", {"broadcast": {"self": False}})
        second, reply = await raw.join("realtime:twice", {"broadcast": {"self": True, "ack": True}})
        assert reply["status"] == "ok"
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        assert (await raw.ask("realtime:twice", "broadcast", payload, join_ref=second))[
            "status"
        ] == "ok"
        await raw.next("broadcast")
        await raw.heartbeat()
        events = [frame[3] for frame in raw.frames.seen]
        assert events.count("broadcast") == 1
        if vsn == "1.0.0":
            assert "phx_close" not in events


async def test_pushes_with_a_stale_join_ref_are_accepted(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join("realtime:stale", {"broadcast": {"ack": True}})
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        for join_ref in (None, "999", 5):
            ack = await raw.ask("realtime:stale", "broadcast", payload, join_ref=join_ref)
            assert ack == {"status": "ok", "response": {}}


async def test_an_unknown_event_is_ignored_without_a_reply(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        join_ref, _ = await raw.join("realtime:unknown")
        ref = await raw.push("realtime:unknown", "what_is_this", {"x": 1}, join_ref=join_ref)
        await raw.heartbeat()
        assert ref not in [frame[1] for frame in raw.frames.seen]


async def test_the_legacy_join_without_config_is_ok(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.send(["1", "1", "realtime:public:trips", "phx_join", {}])
        ok = {"status": "ok", "response": {"postgres_changes": []}}
        assert (await raw.next("phx_reply"))[4] == ok


async def test_every_client_leaves_and_joins_again(stock: MakeClient) -> None:
    client = await stock()
    topic = unused_name("room")
    echo = {"broadcast": {"ack": False, "self": True}}
    for _ in range(20):
        channel = await client.channel(topic, config=echo)
        await channel.subscribe()
        await channel.send("e", {"x": 1})
        assert (await channel.broadcasts.next())["payload"] == {"x": 1}
        await channel.leave()
        await channel.expect_status("CLOSED")


async def test_a_hundred_channels_fit_on_one_connection_and_the_next_is_refused(
    server: TidewireServer,
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        for number in range(100):
            _, reply = await raw.join(f"realtime:many-{number}")
            assert reply["status"] == "ok"
        _, reply = await raw.join("realtime:many-100")
        reason = "ChannelRateLimitReached: Too many channels"
        assert reply == {"status": "error", "response": {"reason": reason}}
        _, reply = await raw.join("realtime:many-7")
        assert reply["status"] == "ok", "joining one of them again is not one more"
        await raw.ask("realtime:many-8", "phx_leave", {})
        _, reply = await raw.join("realtime:many-100")
        assert reply["status"] == "ok"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "MalformedJWT: The token provided is not a valid JWT"),
        ("x.y.z", "MalformedJWT: The token provided is not a valid JWT"),
        ("expired", "InvalidJWTToken: Token has expired "),
        ("forged", "JwtSignatureError: Failed to validate JWT signature"),
        ("no role", "InvalidJWTToken: Fields `role` and `exp` are required in JWT"),
        ("no time", "InvalidJWTToken: Token expiration time is invalid"),
    ],
)
@BOTH
async def test_a_bad_token_refuses_the_join_in_the_words_of_the_wire(
    server: TidewireServer, vsn: str, token: str, reason: str
) -> None:
    made = {
        "expired": server.token("anon", lifetime_s=-30),
        "forged": server.anon_key.rpartition(".")[0] + "." + server.service_key.split(".")[2],
        "no role": server.token(None),
        "no time": server.token("anon", exp="soon"),
    }
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        _, reply = await raw.join("realtime:token", access_token=made.get(token, token))
        assert reply["status"] == "error"
        assert reply["response"]["reason"].startswith(reason)
        _, reply = await raw.join("realtime:token")
        assert reply["status"] == "ok"


async def test_user_token_wins_and_opaque_keys_leave_the_connection_token_in_force(
    server: TidewireServer,
) -> None:
    good, bad = server.token("authenticated"), "x.y.z"
    async with raw_socket(server.url, server.anon_key) as raw:
        for tokens, status in (
            ({"user_token": good, "access_token": bad}, "ok"),
            ({"user_token": bad, "access_token": good}, "error"),
            ({"access_token": "sb_publishable_1"}, "ok"),
            ({"user_token": "sb_secret_1", "access_token": bad}, "ok"),
        ):
            _, reply = await raw.join("realtime:tokens", **tokens)
            assert reply["status"] == status, tokens


@BOTH
async def test_a_bad_refreshed_token_shuts_the_channel_down(
    server: TidewireServer, vsn: str
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        join_ref, _ = await raw.join("realtime:refresh")
        other, _ = await raw.join("realtime:other", {"broadcast": {"ack": True}})
        await raw.push("realtime:refresh", "access_token", {"access_token": ""}, join_ref=join_ref)
        system, close = await raw.next("system"), await raw.next("phx_close")
        assert system[4] == {
            "extension": "system",
            "status": "error",
            "message": "The token provided is not a valid JWT",
            "channel": "refresh",
        }
        assert close[1:] == [join_ref, "realtime:refresh", "phx_close", {}]
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        ack = await raw.ask("realtime:other", "broadcast", payload, join_ref=other)
        assert ack["status"] == "ok"


async def test_a_good_refreshed_token_is_not_answered_and_opaque_ones_are_ignored(
    server: TidewireServer,
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        join_ref, _ = await raw.join("realtime:quiet", {"broadcast": {"ack": True}})
        for token in (server.token("authenticated"), "sb_publishable_x", None):
            await raw.push("realtime:quiet", "access_token", {"access_token": token})
        await raw.push("realtime:quiet", "access_token", {})
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        ack = await raw.ask("realtime:quiet", "broadcast", payload, join_ref=join_ref)
        assert ack["status"] == "ok"
        assert [frame[3] for frame in raw.frames.seen] == ["phx_reply", "phx_reply"]


async def test_a_channel_is_closed_when_its_token_expires_and_the_socket_stays(
    server: TidewireServer,
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        token = server.token("authenticated", lifetime_s=2)
        await raw.join("realtime:short", access_token=token)
        await raw.join("realtime:long")
        system = await raw.next("system")
        assert system[2] == "realtime:short"
        assert system[4]["message"].startswith("Token has expired ")
        assert (await raw.next("phx_close"))[2] == "realtime:short"
        await raw.heartbeat()
        _, reply = await raw.join("realtime:short")
        assert reply["status"] == "ok"


async def test_a_refreshed_token_keeps_the_channel_beyond_the_first_ones_expiry(
    server: TidewireServer,
) -> None:
    async with raw_socket(server.url, server.anon_key) as raw:
        token = server.token("authenticated", lifetime_s=2)
        await raw.join("realtime:kept", access_token=token)
        await raw.join("realtime:not-kept", access_token=token)
        longer = server.token("authenticated", lifetime_s=600)
        await raw.push("realtime:kept", "access_token", {"access_token": longer})
        assert (await raw.next("phx_close"))[2] == "realtime:not-kept"
        await raw.heartbeat()
        assert not [
            frame
            for frame in raw.frames.items
            if frame[2] == "realtime:kept" and frame[3] in ("system", "phx_close")
        ]


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_supabase_js_refreshes_its_token_and_stays_subscribed(
    server: TidewireServer, js: StockJs, vsn: str
) -> None:
    client = await js.client(server.url, server.anon_key, vsn=vsn)
    channel = await client.channel("js-refresh", config={"broadcast": {"self": True, "ack": True}})
    await channel.subscribe()
    await client.set_auth(server.token("authenticated"))
    assert await channel.send("e", {"x": 1}) == "ok"
    assert not channel.statuses.items


async def test_a_client_with_an_expired_join_token_gets_a_channel_error(
    server: TidewireServer, stock: MakeClient
) -> None:
    client = await stock()
    first = await client.channel("first")
    await first.subscribe()
    if client.is_python:
        client.realtime.access_token = server.token("anon", lifetime_s=-30)  # pyright: ignore[reportAttributeAccessIssue] - its set_auth would push it at once
        channel = await client.channel("expired")
        await channel.start()
        error = await channel.expect_status("CHANNEL_ERROR")
        assert error is not None
        assert "Token has expired" in error
    else:
        await client.set_auth(server.token("anon", lifetime_s=-30))
        await first.expect_status("CLOSED")
