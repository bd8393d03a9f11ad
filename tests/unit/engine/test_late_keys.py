"""Tokens whose signing key is not known yet: they wait for one look, and nobody else does."""

import asyncio
import inspect
import json

import pytest

from tests.support.house import House
from tidewire.core.errors import UnknownKeyError
from tidewire.ports.transport import Refusal

TOPIC = "realtime:room:1"
NO_KEY = "no such key"


class Rotating:
    """Wraps a verifier: tokens named in `late` are of an unknown key until a look succeeds."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.late: set[str] = set()
        self.gate = asyncio.Event()
        self.looks = 0
        self.helps = True

    def verify(self, token: str, *, now_s: float):
        if token in self.late:
            raise UnknownKeyError(NO_KEY)
        return self.inner.verify(token, now_s=now_s)

    async def refresh_keys(self) -> None:
        self.looks += 1
        await self.gate.wait()
        if self.helps:
            self.late.clear()


class Setting:
    def __init__(self) -> None:
        self.house = House()
        node = self.house.node
        self.verifier = Rotating(node._verifier)
        node._verifier = self.verifier
        node.joins._verifier = self.verifier
        node.token_refreshes._verifier = self.verifier

    def late(self, role: str = "authenticated", **claims) -> str:
        token = self.house.token(role, **claims)
        self.verifier.late.add(token)
        return token

    async def look(self) -> None:
        self.verifier.gate.set()
        await self.house.settle()


@pytest.fixture
async def setting() -> Setting:
    return Setting()


@pytest.mark.parametrize("helps", [True, False])
async def test_a_join_waits_for_one_look(setting: Setting, helps: bool) -> None:
    setting.verifier.helps = helps
    client = setting.house.connect()
    ref = client.join(TOPIC, access_token=setting.late())
    await setting.house.settle()
    assert client.frames() == []
    other = client.send("phoenix", "heartbeat", {})
    assert client.reply(other)["status"] == "ok", "others are not held up"
    await setting.look()
    answer = client.reply(ref)
    assert answer["status"] == ("ok" if helps else "error")
    if not helps:
        assert answer["response"] == {"reason": f"JwtSignerError: {NO_KEY}"}
    assert setting.verifier.looks == 1
    assert client.connection.joining == {}


async def test_a_join_that_waits_is_overtaken_by_a_newer_one(setting: Setting) -> None:
    client = setting.house.connect()
    first = client.join(TOPIC, access_token=setting.late(sub="first"))
    await setting.house.settle()
    second = client.join(TOPIC, access_token=setting.late(sub="second"))
    await setting.house.settle()
    await setting.look()
    assert [frame[1] for frame in client.frames()] == [second]
    assert first != second
    assert client.connection.channels[TOPIC].claims.values["sub"] == "second"


async def test_a_channel_goes_on_while_its_next_join_waits(setting: Setting) -> None:
    client = setting.house.connect()
    client.join(TOPIC)
    client.join(TOPIC, access_token=setting.late(sub="next"))
    await setting.house.settle()
    assert client.connection.channels[TOPIC].is_open
    await setting.look()
    assert client.connection.channels[TOPIC].claims.values["sub"] == "next"


async def test_a_join_that_waits_ends_with_its_connection(setting: Setting) -> None:
    client = setting.house.connect()
    client.join(TOPIC, access_token=setting.late())
    await setting.house.settle()
    client.end(1000)
    await setting.look()
    assert client.frames() == []
    assert setting.house.stats.channels == 0


@pytest.mark.parametrize("helps", [True, False])
async def test_a_refresh_waits_and_the_channel_goes_on_meanwhile(
    setting: Setting, helps: bool
) -> None:
    setting.verifier.helps = helps
    client = setting.house.connect()
    client.join(TOPIC)
    channel = client.connection.channels[TOPIC]
    client.send(TOPIC, "access_token", {"access_token": setting.late(sub="u")})
    await setting.house.settle()
    assert channel.is_open
    assert channel.claims.role == "anon"
    await setting.look()
    assert channel.is_open is helps
    if helps:
        assert channel.claims.values["sub"] == "u"
    else:
        assert client.events("system")[0]["message"] == NO_KEY


async def test_of_many_refreshes_that_wait_the_newest_counts_and_one_look_is_made(
    setting: Setting,
) -> None:
    client = setting.house.connect()
    client.join(TOPIC)
    for number in range(50):
        token = setting.late(sub=str(number))
        client.send(TOPIC, "access_token", {"access_token": token})
    await setting.house.settle()
    assert setting.verifier.looks == 1
    await setting.look()
    assert client.connection.channels[TOPIC].claims.values["sub"] == "49"
    refreshes = setting.house.node.token_refreshes
    assert not refreshes._late_tokens
    assert not refreshes._looking


async def test_a_known_token_overtakes_one_that_waits(setting: Setting) -> None:
    client = setting.house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "access_token", {"access_token": setting.late(sub="late")})
    newer = setting.house.token("authenticated", sub="newer")
    client.send(TOPIC, "access_token", {"access_token": newer})
    await setting.look()
    assert client.connection.channels[TOPIC].claims.values["sub"] == "newer"


async def test_a_refresh_that_waits_does_nothing_to_a_channel_that_left(setting: Setting) -> None:
    client = setting.house.connect()
    client.join(TOPIC)
    client.send(TOPIC, "access_token", {"access_token": setting.late()})
    client.send(TOPIC, "phx_leave", {})
    await setting.look()
    assert "system" not in [frame[3] for frame in client.frames()]
    assert len(setting.house.node._expiry) == 0, "nothing watches a channel that is gone"


@pytest.mark.parametrize("helps", [True, False])
async def test_an_upgrade_waits_for_one_look(setting: Setting, helps: bool) -> None:
    setting.verifier.helps = helps
    decision = setting.house.upgrade(apikey=setting.late())
    assert inspect.isawaitable(decision)
    setting.verifier.gate.set()
    answer = await decision
    if helps:
        assert not isinstance(answer, Refusal)
    else:
        assert isinstance(answer, Refusal)
        assert (answer.status, json.loads(answer.body)) == (401, {"error": NO_KEY})


async def test_a_token_that_ended_while_its_join_waited_opens_nothing(setting: Setting) -> None:
    setting.house.router.live.clear()
    client = setting.house.connect()
    token = setting.house.token("authenticated", lifetime_s=5)
    entry = {"event": "*", "schema": "public", "table": "trips"}
    ref = client.join(TOPIC, {"postgres_changes": [entry]}, access_token=token)
    await setting.house.settle()
    setting.house.clock.advance(6)
    setting.house.router.live.set()
    await setting.house.settle()
    reason = client.reply(ref)["response"]["reason"]
    assert reason == "InvalidJWTToken: Token has expired 1 seconds ago"
    assert setting.house.subscriptions.members == []
    assert setting.house.stats.channels == 0
