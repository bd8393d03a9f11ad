"""The routes of broadcasts, without a socket. Source: wire specification 4.7, 4.8."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.adapters.memory.channel_rules import MemoryChannelRules
from tidewire.adapters.memory.message_store import MemoryMessageStore
from tidewire.core.errors import (
    BrokerUnavailableError,
    DatabaseUnavailableError,
    LimitReachedError,
)
from tidewire.core.message import Message, PayloadEncoding
from tidewire.engine.persistence import Persistence
from tidewire.engine.quota import MessageQuota
from tidewire.engine.rest_broadcast import RestBroadcasts
from tidewire.engine.stats import Stats
from tidewire.http import broadcast
from tidewire.http.app import build_app
from tidewire.http.broadcast import broadcast_routes
from tidewire.http.page import PageConfig
from tidewire.ports.channel_authorizer import (
    ALL_RIGHTS,
    ChannelRights,
    Problem,
    Right,
    RightsQuestion,
)

SECRET = "a-secret-of-at-least-thirty-two-bytes"
BATCH = "/realtime/v1/api/broadcast"
GOOD = {"topic": "room:1", "event": "cursor", "payload": {"x": 1}}


class Broker:
    """Keeps what was published; refuses when told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refuses = False

    def subscribe(self, deliver: Any) -> None:
        raise NotImplementedError

    def publish(self, message: Message) -> None:
        if self.refuses:
            raise BrokerUnavailableError
        self.messages.append(message)


class Desk:
    """The routes and all that they need."""

    def __init__(self, *, per_s: float = 5000, payload_bytes_max: int = 3_000_500) -> None:
        self.clock = ManualClock()
        self.broker = Broker()
        self.stats = Stats()
        self.quota = MessageQuota(per_s, self.clock, lambda: self.stats.broadcasts_total)
        self.rules = MemoryChannelRules()
        self.store = MemoryMessageStore(self.clock)
        self.persistence = Persistence(self.store, self.clock, self.stats)
        self.broadcasts = RestBroadcasts(
            self.broker,
            self.stats,
            self.quota,
            self.rules,
            self.persistence,
            payload_bytes_max=payload_bytes_max,
        )
        self.app = build_app(
            page=PageConfig("", "", ""),
            routes=broadcast_routes(self.broadcasts, JwtVerifier(SECRET), self.clock),
        )
        self.http = self.client("anon")

    def client(self, role: str) -> httpx.AsyncClient:
        token = sign_token(SECRET, role, now_s=self.clock.wall_s(), lifetime_s=3600)
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://test",
            headers={"apikey": token},
        )

    async def batch(self, *messages: Any, base: str = BATCH) -> httpx.Response:
        return await self.http.post(base, json={"messages": messages})

    async def single(self, topic: str, event: str, body: bytes, **more: Any) -> httpx.Response:
        path = f"{BATCH}/{quote(topic, safe='')}/events/{quote(event, safe='')}"
        headers = {"Content-Type": more.pop("media_type", "application/json")}
        return await self.http.post(path, content=body, headers=headers, **more)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.http.aclose()


def refused(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()


# ------------------------------------------------------------------ batch


@pytest.mark.parametrize("base", [BATCH, "/api/broadcast", f"{BATCH}?apikey=x&vsn=2.0.0"])
async def test_a_batch_is_accepted_with_202_and_nothing_else(desk: Desk, base: str) -> None:
    answer = await desk.batch(GOOD, {**GOOD, "event": "second"}, base=base)
    assert (answer.status_code, answer.content) == (202, b"")
    assert [message.topic for message in desk.broker.messages] == ["default:public:room:1"] * 2
    assert all(message.is_envelope for message in desk.broker.messages)
    assert [json.loads(message.body)["event"] for message in desk.broker.messages] == [
        "cursor",
        "second",
    ]


async def test_the_answer_says_how_fast_messages_come(desk: Desk) -> None:
    await desk.batch(*[GOOD] * 20)
    answer = await desk.batch(GOOD)
    headers = answer.headers
    assert headers["x-rate-rolling"] == "2.10"
    assert headers["x-rate-limit"] == "5000"
    assert headers["x-rate-limit-remaining"] == "4997"
    assert headers["access-control-allow-origin"] == "*"


async def test_a_batch_with_one_bad_message_sends_nothing(desk: Desk) -> None:
    answer = await desk.batch({"topic": "t", "event": "e"}, GOOD)
    assert refused(answer) == (422, {"errors": {"messages": [{"payload": ["can't be blank"]}, {}]}})
    assert not desk.broker.messages


async def test_private_messages_without_the_right_are_passed_over(desk: Desk) -> None:
    answer = await desk.batch({**GOOD, "private": True}, GOOD)
    assert answer.status_code == 202
    assert [message.topic for message in desk.broker.messages] == ["default:public:room:1"]
    assert desk.stats.broadcasts_refused_total == 1
    async with desk.client("service_role") as service:
        await service.post(BATCH, json={"messages": [{**GOOD, "private": True}]})
    assert desk.broker.messages[-1].topic == "default:private:room:1"


@pytest.mark.parametrize("path", [BATCH, f"{BATCH}/t/events/e"])
@pytest.mark.parametrize("key", [None, "", "garbage"])
async def test_without_a_token_nobody_is_heard(desk: Desk, path: str, key: str | None) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(desk.app), base_url="http://test"
    ) as stranger:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = await stranger.post(path, content=b"{}", headers=headers)
    assert refused(answer) == (401, {"message": "Unauthorized"})


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff\xfe"])
async def test_a_batch_that_is_no_json_object_is_a_bad_request(desk: Desk, body: bytes) -> None:
    assert (await desk.http.post(BATCH, content=body)).status_code == 400


async def test_a_batch_in_another_form_is_refused(desk: Desk) -> None:
    answer = await desk.http.post(BATCH, data={"messages": "x"})
    assert answer.status_code == 415


# ------------------------------------------------------------------ single


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        ("room:1", "cursor"),
        ("a/b c?d#e", "50%/ü"),
        ("🚆", "..."),
        ("%2F", "+"),
        ("events", "events"),
    ],
)
async def test_topic_and_event_are_decoded_segments(desk: Desk, topic: str, event: str) -> None:
    answer = await desk.single(topic, event, b'{"x": 1}')
    assert (answer.status_code, answer.content) == (202, b"")
    assert desk.broker.messages == [
        Message(f"default:public:{topic}", event, b'{"x": 1}', encoding=PayloadEncoding.JSON)
    ]


async def test_bytes_are_passed_on_as_they_are(desk: Desk) -> None:
    body = bytes(range(256))
    answer = await desk.single("t", "e", body, media_type="application/octet-stream")
    assert answer.status_code == 202
    (message,) = desk.broker.messages
    assert (message.body, message.encoding) == (body, PayloadEncoding.BINARY)


@pytest.mark.parametrize("body", [b"7", b'"text"', b"[1,2]", b"null", b'  {"a" : 1.50} '])
async def test_any_json_is_delivered_as_itself(desk: Desk, body: bytes) -> None:
    media_type = "application/json; charset=utf-8"
    assert (await desk.single("t", "e", body, media_type=media_type)).status_code == 202
    assert desk.broker.messages[0].body == body.strip()


async def test_without_a_body_the_payload_is_an_empty_object(desk: Desk) -> None:
    assert (await desk.http.post(f"{BATCH}/t/events/e")).status_code == 202
    assert desk.broker.messages[0].body == b"{}"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "x"])
async def test_any_other_media_type_is_refused(desk: Desk, media_type: str) -> None:
    answer = await desk.single("t", "e", b"{}", media_type=media_type)
    text = "Unsupported Media Type. Use application/json or application/octet-stream"
    assert refused(answer) == (415, {"error": text})


async def test_a_private_broadcast_without_the_right_is_forbidden(desk: Desk) -> None:
    answer = await desk.single("t", "e", b"{}", params={"private": "true"})
    assert refused(answer) == (403, {"message": "Unauthorized"})
    assert not desk.broker.messages


@pytest.mark.parametrize("params", [{}, {"private": "false"}])
async def test_a_broadcast_that_is_not_said_to_be_private_is_public(
    desk: Desk, params: dict[str, str]
) -> None:
    answer = await desk.single("t", "e", b"{}", params=params)
    assert answer.status_code == 202
    assert desk.broker.messages[0].topic == "default:public:t"


@pytest.mark.parametrize("value", ["True", "1", "yes", ""])
async def test_what_may_have_been_meant_to_be_private_is_not_sent_to_everybody(
    desk: Desk, value: str
) -> None:
    answer = await desk.single("t", "e", b"{}", params={"private": value})
    assert refused(answer) == (422, {"errors": {"private": ["must be true or false"]}})
    assert not desk.broker.messages


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ({"persist": "true"}, {"persist": ["can only be used on private channels"]}),
        ({"persist[ttl]": "60"}, {"persist": ["can only be used on private channels"]}),
        ({"persist[ttl]": "x"}, {"persist": ["invalid_persist_ttl"]}),
        ({"persist[ttl]": "259201", "private": "true"}, {"persist": ["invalid_persist_ttl"]}),
    ],
)
async def test_a_wish_to_be_kept_that_cannot_be_met_is_refused(
    desk: Desk, query: dict[str, str], errors: Any
) -> None:
    assert refused(await desk.single("t", "e", b"{}", params=query)) == (422, {"errors": errors})


async def test_a_payload_above_the_limit_is_refused_with_its_name() -> None:
    desk = Desk(payload_bytes_max=1024)
    answer = await desk.single("t", "e", b'"' + b"x" * 1024 + b'"')
    errors = {"payload": ["Payload size exceeds tenant limit"]}
    assert refused(answer) == (422, {"errors": errors})


async def test_a_topic_without_a_name_is_refused(desk: Desk) -> None:
    answer = await desk.http.post(f"{BATCH}//events/e", json={})
    assert refused(answer) == (422, {"errors": {"topic": ["can't be blank"]}})


@pytest.mark.parametrize("path", ["/t", "/t/events", "/t/event/e", "/t/events/e/f", "/"])
async def test_other_paths_are_none(desk: Desk, path: str) -> None:
    assert (await desk.http.post(BATCH + path, json={})).status_code in {307, 404}


async def test_a_path_that_is_no_text_is_a_bad_request(desk: Desk) -> None:
    assert (await desk.http.post(f"{BATCH}/%ff/events/e", json={})).status_code == 400


async def test_a_broker_that_takes_nothing_is_told(desk: Desk) -> None:
    desk.broker.refuses = True
    assert refused(await desk.single("t", "e", b"{}")) == (500, {"message": "RPC error"})
    assert refused(await desk.batch(GOOD)) == (500, {"message": "RPC error"})


# ------------------------------------------------------------------ rights, and being kept


async def test_rights_are_asked_for_once_for_each_topic_of_a_batch(desk: Desk) -> None:
    asked: list[RightsQuestion] = []

    def only_room_1(question: RightsQuestion) -> frozenset[Right]:
        asked.append(question)
        return ALL_RIGHTS if question.topic == "room:1" else frozenset()

    desk.rules.set_rule(only_room_1)
    private = {**GOOD, "private": True}
    other = {**private, "topic": "room:2"}
    desk.http.headers["x-forwarded-for"] = "1.2.3.4"
    answer = await desk.batch(private, other, private, GOOD, other)
    assert answer.status_code == 202
    assert [m.topic for m in desk.broker.messages] == [
        "default:private:room:1",
        "default:private:room:1",
        "default:public:room:1",
    ]
    assert sorted(question.topic for question in asked) == ["room:1", "room:2"]
    assert {question.wanted for question in asked} == {frozenset({Right.WRITE_BROADCAST})}
    assert json.loads(asked[0].headers) == {"x-forwarded-for": "1.2.3.4"}
    assert json.loads(asked[0].claims)["role"] == "anon"


class FailingRights:
    """Rights that cannot be asked for, or evaluated."""

    def __init__(self, outcome: Exception | Problem) -> None:
        self.outcome = outcome

    async def judge(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        if isinstance(self.outcome, Problem):
            return [ChannelRights(failed=q.wanted, problem=self.outcome) for q in questions]
        raise self.outcome

    async def state(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (Problem.POLICY, 422, "RLS policy error"),
        (Problem.CANCELED, 422, "Query canceled"),
        (Problem.PARTITION, 422, "Missing messages partition"),
        (Problem.SETTINGS, 500, "Unable to authorize broadcast"),
        (DatabaseUnavailableError("away"), 422, "Tenant database unavailable"),
        (LimitReachedError("many"), 429, "Connection pool exhausted"),
    ],
)
async def test_rights_that_cannot_be_told_are_told_as_such(
    desk: Desk, outcome: Exception | Problem, status: int, text: str
) -> None:
    desk.broadcasts._authorizer = FailingRights(outcome)
    answer = await desk.single("t", "e", b"{}", params={"private": "true"})
    assert refused(answer) == (status, {"message": text})
    assert not desk.broker.messages


async def test_a_batch_without_private_messages_needs_no_database(desk: Desk) -> None:
    desk.broadcasts._authorizer = FailingRights(DatabaseUnavailableError("away"))
    assert (await desk.batch(GOOD)).status_code == 202
    private = await desk.batch(GOOD, {**GOOD, "private": True})
    assert refused(private) == (422, {"message": "Tenant database unavailable"})
    assert len(desk.broker.messages) == 1


@pytest.mark.parametrize(
    ("granted", "is_kept"),
    [(ALL_RIGHTS, True), (frozenset({Right.WRITE_BROADCAST}), False)],
)
async def test_a_broadcast_is_sent_and_where_allowed_kept(
    desk: Desk, granted: frozenset[Right], is_kept: bool
) -> None:
    desk.rules.set_rule(lambda _: granted)
    keeping = asyncio.create_task(desk.persistence.run())
    answer = await desk.single(
        "t", "e", b'{"x":1}', params={"private": "true", "persist[ttl]": "60"}
    )
    assert (answer.status_code, answer.content) == (202, b"")
    (message,) = desk.broker.messages
    for _ in range(5):
        await asyncio.sleep(0)
    found = await desk.store.recent("t", since_ms=0, limit=5)
    assert [(m.id, m.body) for m in found] == ([(message.row_id, b'{"x":1}')] if is_kept else [])
    assert bool(message.meta) is is_kept
    keeping.cancel()
    await desk.broadcasts.close()


# ------------------------------------------------------------------ bounds


async def test_over_the_rate_a_caller_is_told_so_and_later_heard_again() -> None:
    desk = Desk(per_s=3)
    text = "Too many messages to broadcast, please reduce the batch size"
    assert refused(await desk.batch(*[GOOD] * 4)) == (429, {"message": text})
    while (answer := await desk.batch(GOOD)).status_code == 202:
        pass
    assert refused(answer) == (429, {"message": text})
    assert len(desk.broker.messages) == 21
    desk.stats.broadcasts_total += 100
    exceeded = {"message": "You have exceeded your rate limit"}
    assert refused(await desk.single("t", "e", b"{}")) == (429, exceeded)
    for _ in range(12):
        desk.clock.advance(1)
        desk.quota.note()
    assert (await desk.batch(GOOD)).status_code == 202


class Endless:
    """A body that goes on until nobody reads."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(1000):
            self.sent += 1 << 20
            yield bytes(1 << 20)


@pytest.mark.parametrize("path", [BATCH, f"{BATCH}/t/events/e"])
async def test_a_body_without_end_is_refused_while_it_is_read(desk: Desk, path: str) -> None:
    body = Endless()
    answer = await desk.http.post(path, content=body)
    assert answer.status_code == 413
    assert body.sent < 12 << 20


async def test_an_announced_size_above_the_limit_is_refused_unread(desk: Desk) -> None:
    headers = {"content-length": str(broadcast.BODY_BYTES_MAX + 1)}
    answer = await desk.http.post(BATCH, content=b"", headers=headers)
    assert answer.status_code == 413


async def test_a_browser_is_answered_before_it_asks(desk: Desk) -> None:
    headers = {
        "Origin": "http://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey,authorization,content-type",
    }
    for path in (BATCH, f"{BATCH}/t/events/e"):
        answer = await desk.http.options(path, headers=headers)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "authorization" in answer.headers["access-control-allow-headers"]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
    deadline=None,
)
@given(
    path=st.sampled_from(["", "/t/events/e", "/%00/events/%C3%BC", "//events/", "/%zz/events/%"]),
    body=st.binary(max_size=64) | st.just(json.dumps({"messages": [GOOD]}).encode()),
    media_type=st.sampled_from(["", "application/json", "application/octet-stream", "a;b/c"]),
    query=st.sampled_from(["", "?private=true", "?persist=%ff", "?persist[ttl]=9&private=true"]),
)
async def test_no_request_is_more_than_a_bad_one(
    desk: Desk, path: str, body: bytes, media_type: str, query: str
) -> None:
    answer = await desk.http.post(
        BATCH + path + query, content=body, headers={"Content-Type": media_type}
    )
    assert answer.status_code in {202, 400, 403, 404, 415, 422}
