import asyncio
import json

import pytest

from tests.support.house import House
from tidewire.adapters.jwt.sign import sign_token
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.ports.transport import Refusal

TOPIC = "realtime:room:1"


@pytest.fixture
async def house():
    return House()


def ok(response: object = None) -> dict:
    return {"status": "ok", "response": response or {}}


def refused(reason: str) -> dict:
    return {"status": "error", "response": {"reason": reason}}


# ------------------------------------------------------------------ upgrade


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ({"apikey": None}, 401, "API key is missing"),
        ({"apikey": "garbage"}, 401, "The token provided is not a valid JWT"),
        ({"apikey": "x", "vsn": "3.0.0"}, 403, None),
        ({"apikey": "x", "path": "/elsewhere"}, 404, "Not found"),
    ],
)
async def test_an_upgrade_is_refused_with_its_status(house, arguments, status, text):
    answer = house.upgrade(**arguments)
    assert isinstance(answer, Refusal)
    assert answer.status == status
    assert answer.body == (
        json.dumps({"error": text}, separators=(",", ":")).encode() if text else b""
    )


async def test_an_expired_or_forged_key_is_refused(house):
    expired = house.upgrade(apikey=house.token(lifetime_s=-5))
    assert json.loads(expired.body) == {"error": "Token has expired"}
    forged = sign_token("another-secret-of-thirty-two-bytes!!", "anon", now_s=house.clock.wall_s())
    assert house.upgrade(apikey=forged).status == 401


async def test_beyond_the_bound_of_connections_an_upgrade_gets_429():
    house = House(connections_max=1)
    house.connect()
    assert house.upgrade(apikey=house.token()).status == 429


# ------------------------------------------------------------------ frames


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_a_heartbeat_is_answered_with_its_own_ref(house, vsn):
    client = house.connect(vsn)
    ref = client.send("phoenix", "heartbeat", {}, join_ref=None)
    assert client.frames() == [[None, ref, "phoenix", "phx_reply", ok()]]


async def test_a_null_ref_is_echoed_as_null(house):
    client = house.connect("1.0.0")
    client.connection.message_received(
        b'{"topic":"phoenix","event":"heartbeat","payload":{},"ref":null,"join_ref":null}', True
    )
    assert client.frames() == [[None, None, "phoenix", "phx_reply", ok()]]


@pytest.mark.parametrize(
    ("data", "is_text"),
    [(b"", True), (b"nonsense", True), (b"[1,2]", True), (b"\x00\x01", False), (b"", False)],
)
async def test_what_is_no_frame_is_dropped_and_counted(house, data, is_text):
    client = house.connect()
    client.connection.message_received(data, is_text)
    assert client.frames() == []
    assert client.transport.closed_with is None
    assert house.stats.malformed_total == 1


@pytest.mark.parametrize("topic", ["other:room", "realtime:not-joined", "phoenix"])
async def test_a_push_to_an_unknown_topic_is_told_so(house, topic):
    client = house.connect()
    ref = client.send(topic, "broadcast", {})
    assert client.frames() == [[None, ref, topic, "phx_reply", refused("unmatched topic")]]


async def test_an_error_in_one_frame_is_logged_and_ends_there(house, caplog):
    client = house.connect()
    client.join(TOPIC)
    house.node.broadcasts = None
    client.send(TOPIC, "broadcast", {})
    assert "UnknownErrorOnWebSocketMessage" in caplog.text
    ref = client.send("phoenix", "heartbeat", {})
    assert client.reply(ref) == ok()


# ------------------------------------------------------------------ join and leave


async def test_a_join_without_changes_is_answered_at_once(house):
    client = house.connect()
    ref = client.join(TOPIC)
    assert client.frames() == [["j", ref, TOPIC, "phx_reply", ok({"postgres_changes": []})]]
    assert house.stats.channels == 1


async def test_a_join_with_changes_is_answered_with_its_echo_then_the_system_message(house):
    client = house.connect()
    entry = {"event": "*", "schema": "public", "table": "trips", "filter": "id=eq.1"}
    ref = client.join(TOPIC, {"postgres_changes": [entry], "presence": {"enabled": True}})
    await house.settle()
    reply, state, system = client.frames()
    assert reply == ["j", ref, TOPIC, "phx_reply", ok({"postgres_changes": [{**entry, "id": 7}]})]
    assert state == ["j", None, TOPIC, "presence_state", {}]
    assert system[3:] == [
        "system",
        {
            "extension": "postgres_changes",
            "status": "ok",
            "message": "Subscribed to PostgreSQL",
            "channel": "room:1",
        },
    ]


async def test_a_join_with_changes_waits_for_the_live_stream(house):
    house.router.live.clear()
    client = house.connect()
    client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await house.settle()
    assert client.frames() == []
    house.router.live.set()
    await house.settle()
    assert client.events("phx_reply")[0]["status"] == "ok"


async def test_a_join_is_refused_when_the_stream_does_not_come():
    house = House(join_timeout_s=0.01)
    house.router.live.clear()
    client = house.connect()
    ref = client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await asyncio.wait_for(asyncio.gather(*client.connection.joining.values()), 5)
    assert client.reply(ref)["response"]["reason"].startswith("InitializingProjectConnection: ")
    assert client.connection.joining == {}


async def test_a_join_is_refused_when_the_database_is_away(house):
    house.subscriptions.error = DatabaseUnavailableError("away")
    client = house.connect()
    ref = client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await house.settle()
    assert client.reply(ref)["status"] == "error"
    assert house.stats.channels == 0


async def test_a_leave_is_answered_and_closes_the_channel(house):
    client = house.connect()
    client.join(TOPIC)
    ref = client.send(TOPIC, "phx_leave", {})
    assert client.frames()[1:] == [
        ["j", ref, TOPIC, "phx_reply", ok()],
        ["j", "j", TOPIC, "phx_close", {}],
    ]
    assert house.stats.channels == 0


async def test_a_leave_without_join_refs_is_not_followed_by_a_close(house):
    """It would hit the channel of a client that has joined the topic again meanwhile."""
    client = house.connect("1.0.0")
    client.join(TOPIC)
    client.send(TOPIC, "phx_leave", {})
    client.join(TOPIC)
    assert [frame[3] for frame in client.frames()] == ["phx_reply"] * 3
    assert house.stats.channels == 1


async def test_a_leave_of_a_topic_not_joined_is_fine(house):
    client = house.connect()
    ref = client.send(TOPIC, "phx_leave", {})
    assert client.frames() == [[None, ref, TOPIC, "phx_reply", ok()]]


async def test_a_leave_with_another_joins_ref_is_ignored(house):
    client = house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "phx_leave", {}, join_ref="old")
    assert len(client.frames()) == 1
    assert house.stats.channels == 1


async def test_a_join_that_fails_by_our_own_mistake_is_answered_and_logged(house, caplog):
    house.subscriptions.error = ZeroDivisionError()
    client = house.connect()
    ref = client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await house.settle()
    assert client.reply(ref) == refused("join crashed")
    assert "a join failed" in caplog.text
    house.subscriptions.error = None
    again = client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await house.settle()
    assert client.reply(again)["status"] == "ok"


async def test_a_leave_ends_a_join_under_way(house):
    house.subscriptions.gate.clear()
    client = house.connect()
    client.join(TOPIC, {"postgres_changes": [{"table": "trips"}]})
    await house.settle()
    client.send(TOPIC, "phx_leave", {})
    house.subscriptions.gate.set()
    await house.settle()
    assert house.subscriptions.members == []
    assert len(client.events("phx_reply")) == 1


async def test_a_second_join_of_a_topic_ends_the_first_without_phx_close(house):
    client = house.connect()
    client.join(TOPIC)
    client.join(TOPIC, {"broadcast": {"self": True}})
    assert [frame[3] for frame in client.frames()] == ["phx_reply", "phx_reply"]
    client.send(TOPIC, "broadcast", {"type": "broadcast", "event": "e", "payload": {}})
    await house.settle()
    assert len(client.events("broadcast")) == 1
    assert house.stats.channels == 1


async def test_beyond_the_bound_of_channels_a_join_is_refused():
    house = House(channels_per_connection_max=3)
    client = house.connect()
    refs = [client.join(f"realtime:r{number}") for number in range(5)]
    assert [client.reply(ref)["status"] for ref in refs] == ["ok"] * 3 + ["error"] * 2
    assert client.reply(refs[3]) == refused("ChannelRateLimitReached: Too many channels")
    client.join("realtime:r0")
    assert client.frames()[-1][4]["status"] == "ok"


async def test_what_one_connection_makes_the_server_keep_is_bounded():
    house = House(held_bytes_max=10_000)
    client = house.connect()
    too_large = "ChannelRateLimitReached: The joins of this connection are too large together"
    entries = [{"table": "t", "extra": "x" * 6_000}]
    at_once = [client.join(f"realtime:{n}", {"postgres_changes": entries}) for n in "ab"]
    await house.settle()
    later = client.join(f"realtime:{'c' * 9_000}")
    assert client.reply(at_once[0])["status"] == "ok"
    assert [client.reply(ref) for ref in (at_once[1], later)] == [refused(too_large)] * 2
    assert len(house.subscriptions.members) == 1
    client.send("realtime:a", "phx_leave", {})
    ref = client.join("realtime:b", {"postgres_changes": entries})
    await house.settle()
    assert client.reply(ref)["status"] == "ok"


async def test_what_one_connection_tracks_counts_with_what_it_keeps():
    house = House(held_bytes_max=10_000)
    client = house.connect()

    def track(topic: str, size: int) -> str:
        payload = {"type": "presence", "event": "track", "payload": {"x": "y" * size}}
        return client.send(topic, "presence", payload)

    for topic in ("realtime:a", "realtime:b"):
        client.join(topic)
    assert client.reply(track("realtime:a", 6_000))["status"] == "ok"
    assert client.reply(track("realtime:b", 6_000)) == refused("Track message size exceeded")
    assert client.reply(track("realtime:a", 5_000))["status"] == "ok"
    assert client.reply(track("realtime:b", 3_000))["status"] == "ok"


async def test_an_empty_topic_name_is_refused(house):
    client = house.connect()
    ref = client.join("realtime:")
    assert client.reply(ref) == refused("TopicNameRequired: You must provide a topic name")


@pytest.mark.parametrize(
    "config",
    [5, "x", [], {"broadcast": 1, "presence": [], "postgres_changes": {}, "private": "maybe"}],
)
async def test_a_join_of_wrong_types_goes_on_with_what_parsed(house, config):
    client = house.connect()
    ref = client.send(TOPIC, "phx_join", {"config": config})
    assert client.reply(ref) == ok({"postgres_changes": []})


async def test_a_private_channel_is_for_whom_its_policies_let_in(house):
    client = house.connect()
    ref = client.join(TOPIC, {"private": True})
    await house.settle()
    assert client.reply(ref) == refused(
        "Unauthorized: You do not have permissions to read from this Channel topic: room:1"
    )
    service = house.connect(token=house.token("service_role"))
    ref = service.join(TOPIC, {"private": True})
    await house.settle()
    assert service.reply(ref)["status"] == "ok"


async def test_public_and_private_rooms_of_one_name_are_apart(house):
    public = house.connect()
    public.join(TOPIC)
    private = house.connect(token=house.token("service_role"))
    private.join(TOPIC, {"private": True})
    await house.settle()
    private.send(TOPIC, "broadcast", {"event": "e", "payload": {}})
    assert house.stats.broadcasts_total == 1
    await house.settle()
    assert public.events("broadcast") == []


# ------------------------------------------------------------------ tokens


async def test_a_joins_own_token_counts(house):
    client = house.connect()
    token = house.token("authenticated")
    client.join(TOPIC, {"postgres_changes": [{"table": "t"}]}, access_token=token)
    await house.settle()
    assert house.subscriptions.roles == ["authenticated"]


async def test_a_bad_join_token_is_refused_with_its_code(house):
    client = house.connect()
    ref = client.join(TOPIC, access_token="not-a-token")
    assert client.reply(ref) == refused("MalformedJWT: The token provided is not a valid JWT")


async def test_a_channel_whose_token_ends_is_closed_and_told_why(house):
    client = house.connect()
    client.join(TOPIC, access_token=house.token(lifetime_s=10))
    house.clock.advance(12)
    house.node._end_expired()
    system, close = client.frames()[1:]
    assert system[4]["message"] == "Token has expired 2 seconds ago"
    assert system[4]["status"] == "error"
    assert close[:4] == ["j", "j", TOPIC, "phx_close"]
    assert house.stats.channels == 0


async def test_a_new_token_takes_effect_without_a_reply(house):
    client = house.connect()
    client.join(TOPIC, access_token=house.token(lifetime_s=10))
    client.send(TOPIC, "access_token", {"access_token": house.token(lifetime_s=100)})
    assert len(client.frames()) == 1
    house.clock.advance(12)
    house.node._end_expired()
    assert len(client.frames()) == 1


@pytest.mark.parametrize("token", [None, 5, "sb_publishable_x"])
async def test_what_is_no_token_to_refresh_with_is_ignored(house, token):
    client = house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "access_token", {"access_token": token})
    assert len(client.frames()) == 1


async def test_a_bad_refresh_closes_the_channel(house):
    client = house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "access_token", {"access_token": ""})
    assert [frame[3] for frame in client.frames()] == ["phx_reply", "system", "phx_close"]


async def test_a_refresh_to_another_role_moves_the_subscription(house):
    client = house.connect()
    client.join(TOPIC, {"postgres_changes": [{"table": "t"}]})
    await house.settle()
    client.send(TOPIC, "access_token", {"access_token": house.token("authenticated")})
    await house.settle()
    assert house.subscriptions.roles == ["anon", "authenticated"]


async def test_roles_that_change_faster_than_they_act_end_at_the_newest(house):
    client = house.connect()
    client.join(TOPIC, {"postgres_changes": [{"table": "t"}]})
    await house.settle()
    house.subscriptions.gate.clear()
    for role in ("service_role", "authenticated"):
        client.send(TOPIC, "access_token", {"access_token": house.token(role)})
    await house.settle()
    house.subscriptions.gate.set()
    await house.settle()
    assert [group.role for group in house.subscriptions.groups.values()] == ["authenticated"]
    client.send(TOPIC, "phx_leave", {})
    assert house.subscriptions.groups == {}, "a ghost would go on receiving"


# ------------------------------------------------------------------ broadcast


def push(payload: object = None) -> dict:
    return {"type": "broadcast", "event": "cursor", "payload": payload or {"x": 4}}


async def test_a_broadcast_reaches_the_others_verbatim_in_both_serializers(house):
    sender, v1, v2 = house.connect(), house.connect("1.0.0"), house.connect()
    for client in (sender, v1, v2):
        client.join(TOPIC)
    payload = {**push(), "extra": [1, None]}
    sender.send(TOPIC, "broadcast", payload)
    await house.settle()
    assert v1.frames()[-1] == [None, None, TOPIC, "broadcast", payload]
    assert v2.frames()[-1] == [None, None, TOPIC, "broadcast", payload]
    assert sender.events("broadcast") == []


async def test_the_same_users_other_socket_hears_a_broadcast(house):
    token = house.token("authenticated", sub="u1")
    one, two = house.connect(token=token), house.connect(token=token)
    one.join(TOPIC)
    two.join(TOPIC)
    one.send(TOPIC, "broadcast", push())
    await house.settle()
    assert len(two.events("broadcast")) == 1


async def test_an_acknowledged_broadcast_is_replied_to(house):
    client = house.connect()
    client.join(TOPIC, {"broadcast": {"ack": True}})
    ref = client.send(TOPIC, "broadcast", push())
    assert client.reply(ref) == ok()


async def test_a_broadcast_too_large_is_refused_or_dropped():
    house = House(payload_bytes_max=100)
    asks, silent = house.connect(), house.connect()
    asks.join(TOPIC, {"broadcast": {"ack": True}})
    silent.join(TOPIC)
    ref = asks.send(TOPIC, "broadcast", push("x" * 200))
    silent.send(TOPIC, "broadcast", push("x" * 200))
    await house.settle()
    assert asks.reply(ref)["response"] == {"error": "payload_size_exceeded"}
    assert asks.events("broadcast") == silent.events("broadcast") == []
    assert house.stats.broadcasts_refused_total == 2


async def test_a_broadcast_that_is_no_object_is_refused(house):
    client = house.connect()
    client.join(TOPIC, {"broadcast": {"ack": True}})
    ref = client.send(TOPIC, "broadcast", [1])
    assert client.reply(ref)["status"] == "error"


def kind_3(encoding: int, body: bytes, event: bytes = b"e1") -> bytes:
    topic = TOPIC.encode()
    return bytes([3, 1, 1, len(topic), len(event), 0, encoding]) + b"j9" + topic + event + body


async def test_a_binary_push_with_json_goes_to_both_serializers(house):
    sender, v1, v2 = house.connect(), house.connect("1.0.0"), house.connect()
    for client in (sender, v1, v2):
        client.join(TOPIC)
    sender.connection.message_received(kind_3(1, b'{"x":1}'), False)
    await house.settle()
    topic = TOPIC.encode()
    expected = bytes([4, len(topic), 2, 0, 1]) + topic + b"e1" + b'{"x":1}'
    assert v2.raw()[-1] == (2, expected)
    assert v1.frames()[-1][4] == {"event": "e1", "payload": {"x": 1}, "type": "broadcast"}


async def test_a_binary_push_with_bytes_passes_v1_clients_by(house):
    sender, v1, v2 = house.connect(), house.connect("1.0.0"), house.connect()
    for client in (sender, v1, v2):
        client.join(TOPIC, {"broadcast": {"ack": True}})
    sender.connection.message_received(kind_3(0, b"\x01\x02\xff"), False)
    await house.settle()
    assert v2.raw()[-1][1].endswith(b"\x01\x02\xff")
    assert len(v1.frames()) == 1
    assert sender.reply("9") == ok()


# ------------------------------------------------------------------ presence


async def test_a_track_is_answered_and_shown(house):
    ann, bob = house.connect(), house.connect()
    for client, key in ((ann, "ann"), (bob, "bob")):
        client.join(TOPIC, {"presence": {"key": key, "enabled": True}})
    ref = ann.send(TOPIC, "presence", {"type": "presence", "event": "TRACK", "payload": {"n": 1}})
    await house.settle()
    assert ann.reply(ref) == ok()
    (diff,) = bob.events("presence_diff")
    assert diff["joins"]["ann"]["metas"][0]["n"] == 1


async def test_a_track_switches_presence_on_and_brings_the_state(house):
    client = house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "presence", {"event": "track", "payload": {}})
    assert len(client.events("presence_state")) == 1


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ({"event": "track", "payload": 5}, refused("Presence track payload must be a map")),
        ({"event": "dance"}, {"status": "error", "response": {}}),
        ({}, ok()),
        ({"event": "untrack", "payload": {}}, ok()),
    ],
)
async def test_presence_pushes_are_answered_as_the_wire_says(house, payload, answer):
    client = house.connect()
    client.join(TOPIC)
    ref = client.send(TOPIC, "presence", payload)
    assert client.reply(ref) == answer


@pytest.mark.parametrize("close_code", [1000, 1001])
async def test_a_client_that_means_to_go_leaves_at_once(house, close_code):
    ann, bob = house.connect(), house.connect()
    ann.join(TOPIC, {"presence": {"key": "ann"}})
    bob.join(TOPIC)
    ann.send(TOPIC, "presence", {"event": "track", "payload": {}})
    await house.settle()
    ann.end(close_code)
    await house.settle()
    assert list(bob.events("presence_diff")[-1]["leaves"]) == ["ann"]


async def test_a_client_that_breaks_off_stays_for_the_grace(house):
    ann, bob = house.connect(), house.connect()
    ann.join(TOPIC, {"presence": {"key": "ann"}})
    bob.join(TOPIC)
    ann.send(TOPIC, "presence", {"event": "track", "payload": {}})
    await house.settle()
    ann.end(None)
    await house.settle()
    assert len(bob.events("presence_diff")) == 1
    house.clock.advance(3.1)
    house.node.presence.end_grace()
    await house.settle()
    assert list(bob.events("presence_diff")[-1]["leaves"]) == ["ann"]


async def test_a_present_peer_that_falls_silent_is_pinged_then_gone_at_once(house):
    ann, bob = house.connect(), house.connect()
    ann.join(TOPIC, {"presence": {"key": "ann"}})
    bob.join(TOPIC)
    ann.send(TOPIC, "presence", {"event": "track", "payload": {}})
    await house.settle()
    ann.transport.last_heard_s -= 2
    house.node._check_present()
    assert ann.transport.pings == 1
    ann.transport.last_heard_s -= 2.5
    house.node._check_present()
    assert ann.transport.aborted
    ann.end(None)
    await house.settle()
    assert list(bob.events("presence_diff")[-1]["leaves"]) == ["ann"]
    assert house.stats.half_open_total == 1


# ------------------------------------------------------------------ the end


async def test_a_lost_connection_leaves_nothing_behind(house):
    client = house.connect()
    client.join(TOPIC, {"presence": {"enabled": True}, "postgres_changes": [{"table": "t"}]})
    await house.settle()
    house.subscriptions.gate.clear()
    client.join("realtime:other", {"postgres_changes": [{"table": "t"}]})
    await house.settle()
    client.end(1000)
    house.subscriptions.gate.set()
    await house.settle()
    stats = house.stats
    assert (stats.connections, stats.channels, stats.subscriptions) == (0, 0, 0)
    assert house.subscriptions.members == []
    assert len(house.node._hub) == 0


async def test_an_idle_peer_is_pinged_and_then_closed(house):
    client = house.connect()
    client.transport.last_heard_s -= 30
    house.node._check_idle()
    assert (client.transport.pings, client.transport.closed_with) == (1, None)
    client.transport.last_heard_s -= 40
    house.node._check_idle()
    assert client.transport.closed_with == 1000


async def test_a_drain_tells_everyone_to_come_back_and_lets_nobody_in():
    house = House(drain_timeout_s=0.01)
    stays, goes = house.connect(), house.connect()
    drain = asyncio.ensure_future(house.node.drain())
    await house.settle()
    assert stays.transport.closed_with == goes.transport.closed_with == 1012
    assert house.upgrade(apikey=house.token()).status == 503
    ref = stays.join(TOPIC)
    assert stays.reply(ref)["response"]["reason"].startswith("RealtimeRestarting")
    goes.end(1012)
    await drain
    assert stays.transport.aborted
    assert not goes.transport.aborted
