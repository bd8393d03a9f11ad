"""Private channels: who is let in, who hears and says what. Source: wire specification 3, 4, 7."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock import StockChannel, StockClient
from tests.support.tables import unused_name

PRIVATE: dict[str, Any] = {"private": True, "broadcast": {"ack": True, "self": False}}
ACT_WITHIN_S = 4.0  # the promise is a second; the poll that would hide a lost word takes 5


class Policies:
    """Policies on realtime.messages for one test."""

    def __init__(self, database: asyncpg.Connection) -> None:
        self._database = database
        self._made: list[str] = []

    async def allow(
        self, verb: str, expression: str, *, extensions: str = "broadcast,presence"
    ) -> str:
        """Make one; gives its name."""
        name = unused_name("policy")
        clause = "with check" if verb == "insert" else "using"
        listed = ", ".join(f"'{extension}'" for extension in extensions.split(","))
        await self._database.execute(
            f"create policy {name} on realtime.messages for {verb} to authenticated, anon"
            f" {clause} (realtime.messages.extension in ({listed}) and ({expression}))"
        )
        self._made.append(name)
        return name

    async def drop(self, name: str) -> None:
        self._made.remove(name)
        await self._database.execute(f"drop policy {name} on realtime.messages")

    async def close(self) -> None:
        for name in list(self._made):
            await self.drop(name)


@pytest.fixture
async def policies(database: asyncpg.Connection) -> AsyncGenerator[Policies]:
    made = Policies(database)
    yield made
    await made.close()


def only(topic: str, rest: str = "true") -> str:
    return f"realtime.topic() = '{topic}' and ({rest})"


async def authenticated(client: StockClient, server: TidewireServer, **claims: Any) -> StockClient:
    await client.set_auth(server.token("authenticated", **claims))
    return client


async def joined(client: StockClient, topic: str, **options: Any) -> StockChannel:
    channel = await client.channel(topic, config=PRIVATE, **options)
    await channel.subscribe()
    return channel


async def expect_end(client: StockClient, channel: StockChannel, message: str) -> None:
    """The server ends a channel and says why; supabase-py shows no such message to listeners."""
    ended = ("CHANNEL_ERROR",) if client.is_python else ("CLOSED",)
    await channel.statuses.next(lambda status: status[0] in ended, within_s=ACT_WITHIN_S)
    if not client.is_python:
        assert (await channel.systems.next())["message"] == message


async def test_without_a_policy_nobody_is_let_in_and_is_told_at_once(
    stock: MakeClient, server: TidewireServer
) -> None:
    topic = unused_name("room")
    channel = await (await stock()).channel(topic, config=PRIVATE)
    await channel.start()
    error = await channel.expect_status("CHANNEL_ERROR", within_s=ACT_WITHIN_S)
    expected = f"Unauthorized: You do not have permissions to read from this Channel topic: {topic}"
    assert error is not None
    assert expected in error


async def test_a_policy_on_topic_and_claims_lets_its_people_in(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    team = only(topic, "auth.jwt() ->> 'team' = 'red'")
    await policies.allow("select", team)
    await policies.allow("insert", team)
    reds = [await authenticated(await stock(), server, team="red") for _ in range(2)]
    channels = [await joined(client, topic) for client in reds]
    assert await channels[0].send("e", {"n": 1}) == "ok"
    assert (await channels[1].broadcasts.next())["payload"] == {"n": 1}
    blue = await authenticated(await stock(), server, team="blue")
    refused = await blue.channel(topic, config=PRIVATE)
    await refused.start()
    await refused.expect_status("CHANNEL_ERROR", within_s=ACT_WITHIN_S)


async def test_who_may_only_read_hears_but_is_not_heard(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic))
    await policies.allow("insert", only(topic, "auth.jwt() ->> 'may' = 'write'"))
    writer = await joined(await authenticated(await stock(), server, may="write"), topic)
    reader_client = await authenticated(await stock(), server, may="read")
    reader = await joined(reader_client, topic)
    answer = await reader.send("forbidden", {"n": 1})
    assert answer == ("ok" if reader_client.is_python else "error"), "py waits for no answer"
    assert await writer.send("allowed", {"n": 2}) == "ok"
    assert (await reader.broadcasts.next())["event"] == "allowed"
    assert not writer.broadcasts.items


async def test_who_may_only_see_presence_never_sees_a_broadcast(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    all_ = "auth.jwt() ->> 'may' = 'all'"
    await policies.allow("select", only(topic), extensions="presence")
    await policies.allow("select", only(topic, all_), extensions="broadcast")
    await policies.allow("insert", only(topic, all_))
    watcher = await joined(
        await authenticated(await stock(), server, may="watch"), topic, presence=True
    )
    member = await joined(
        await authenticated(await stock(), server, may="all"), topic, presence=True
    )
    other = await joined(await authenticated(await stock(), server, may="all"), topic)
    assert await member.send("e", {"n": 1}) == "ok"
    await other.broadcasts.next()
    await member.track({"name": "Ann"})
    await watcher.syncs.next(
        lambda state: any(m["name"] == "Ann" for ms in state.values() for m in ms)
    )
    assert not watcher.broadcasts.items


async def test_without_presence_asked_for_its_policy_lets_nobody_in(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic), extensions="presence")
    channel = await (await authenticated(await stock(), server)).channel(topic, config=PRIVATE)
    await channel.start()
    await channel.expect_status("CHANNEL_ERROR", within_s=ACT_WITHIN_S)


async def test_a_policy_that_raises_denies_those_it_raises_for(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic, "auth.uid() is not null"))
    good, bad = [await stock() for _ in range(2)]
    await authenticated(good, server, sub="6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001")
    await authenticated(bad, server, sub="not-a-uuid")
    refused = await bad.channel(topic, config=PRIVATE)
    await refused.start()
    error = await refused.expect_status("CHANNEL_ERROR", within_s=ACT_WITHIN_S)
    assert error is not None
    assert "Unauthorized: You do not have permissions" in error
    await joined(good, topic)
    assert "RlsPolicyError" in server.log()
    assert "not-a-uuid" not in server.log()


async def test_a_new_token_takes_the_channel_away(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic, "auth.jwt() ->> 'team' = 'red'"))
    client = await authenticated(await stock(), server, team="red")
    channel = await joined(client, topic)
    await authenticated(client, server, team="blue")
    await expect_end(
        client, channel, f"You do not have permissions to read from this Channel topic: {topic}"
    )


async def test_losing_one_of_two_rights_closes_the_channel_with_the_text_for_it(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic), extensions="presence")
    red = "auth.jwt() ->> 'team' = 'red'"
    await policies.allow("select", only(topic, red), extensions="broadcast")
    client = await authenticated(await stock(), server, team="red")
    channel = await joined(client, topic, presence=True)
    await authenticated(client, server, team="blue")
    await expect_end(
        client, channel, f"You no longer have permission to read from this Channel topic: {topic}"
    )


async def test_a_new_token_gives_rights_at_once(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    red = "auth.jwt() ->> 'team' = 'red'"
    await policies.allow("select", only(topic))
    await policies.allow("insert", only(topic, red))
    listener = await joined(await authenticated(await stock(), server), topic)
    client = await authenticated(await stock(), server, team="blue")
    channel = await joined(client, topic)
    await authenticated(client, server, team="red")
    assert await channel.send("e", {"n": 1}) == "ok"
    assert (await listener.broadcasts.next())["payload"] == {"n": 1}


async def test_a_dropped_policy_acts_on_those_who_are_in(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    name = await policies.allow("select", only(topic))
    client = await authenticated(await stock(), server)
    channel = await joined(client, topic)
    await policies.drop(name)
    await expect_end(
        client, channel, f"You do not have permissions to read from this Channel topic: {topic}"
    )


async def test_a_policy_made_later_gives_rights_to_those_who_are_in(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic), extensions="broadcast")
    writer = await joined(await authenticated(await stock(), server), topic)
    reader = await joined(await authenticated(await stock(), server), topic, presence=True)
    await policies.allow("insert", only(topic))
    async with asyncio.timeout(ACT_WITHIN_S):
        while not reader.broadcasts.items:
            await writer.send("e", {"n": 1})
            await asyncio.sleep(0.05)
    await policies.allow("select", only(topic), extensions="presence")
    await reader.syncs.next(within_s=ACT_WITHIN_S)


async def test_public_and_private_rooms_of_one_name_are_apart(
    stock: MakeClient, server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic))
    await policies.allow("insert", only(topic))
    inside = await joined(await authenticated(await stock(), server), topic)
    witness = await joined(await authenticated(await stock(), server), topic)
    outside = await (await stock()).channel(topic)
    await outside.subscribe()
    await outside.send("public", {"n": 1})
    assert await inside.send("private", {"n": 2}) == "ok"
    assert (await witness.broadcasts.next())["event"] == "private"
    assert not outside.broadcasts.items
    assert not inside.broadcasts.items


async def test_a_denied_push_is_answered_when_an_answer_was_asked_for(
    server: TidewireServer, policies: Policies
) -> None:
    topic = unused_name("room")
    await policies.allow("select", only(topic))
    wire = f"realtime:{topic}"
    push = {"type": "broadcast", "event": "e", "payload": {}}
    refused = {"status": "error", "response": {"error": "unauthorized"}}
    async with raw_socket(server.url, server.anon_key) as socket:
        config = {"private": True, "broadcast": {"ack": True}}
        assert (await socket.join(wire, config))[1]["status"] == "ok"
        assert await socket.ask(wire, "broadcast", push) == refused
        track = {"event": "track", "payload": {}}
        denied = {"status": "error", "response": {}}
        assert await socket.ask(wire, "presence", track) == denied
    async with raw_socket(server.url, server.anon_key) as socket:
        assert (await socket.join(wire, {"private": True}))[1]["status"] == "ok"
        ref = await socket.push(wire, "broadcast", push)
        await socket.ask("phoenix", "heartbeat", {})
        assert not [frame for frame in socket.frames.seen if frame[1] == ref]
