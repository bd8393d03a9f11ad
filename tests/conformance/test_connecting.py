"""Connecting, keys and heartbeats. Source: wire specification 1."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock_js import StockJs

ENDPOINTS = ("/realtime/v1/websocket", "/socket/websocket")


async def refusal(server: TidewireServer, key: str | None, **more: Any) -> tuple[int, Any]:
    """Status and decoded body of a refused upgrade."""
    with pytest.raises(InvalidStatus) as refused:
        async with raw_socket(server.url, key, **more):
            pass
    body = refused.value.response.body
    return refused.value.response.status_code, json.loads(body) if body else None


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_both_paths_and_both_serializers_answer_a_heartbeat(
    server: TidewireServer, path: str, vsn: str
) -> None:
    async with raw_socket(server.url, server.anon_key, path=path, vsn=vsn) as raw:
        await raw.heartbeat()


async def test_the_serializer_is_1_0_0_when_none_is_named(server: TidewireServer) -> None:
    async with raw_socket(server.url, server.anon_key, vsn="1.0.0", names_vsn=False) as raw:
        await raw.heartbeat()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "API key is missing"),
        ("", "API key is missing"),
        ("not-a-token", "The token provided is not a valid JWT"),
        ("a.b.c", "The token provided is not a valid JWT"),
        ("é", "The token provided is not a valid JWT"),
    ],
)
async def test_a_key_that_is_none_is_refused_in_the_words_of_the_wire(
    server: TidewireServer, key: str | None, message: str
) -> None:
    assert await refusal(server, key) == (401, {"error": message})


async def test_an_expired_key_is_refused(server: TidewireServer) -> None:
    status, body = await refusal(server, server.token("anon", lifetime_s=-5))
    assert status == 401
    assert body["error"].startswith("Token has expired")


async def test_a_key_of_another_secret_is_refused(server: TidewireServer) -> None:
    head, body, _ = server.anon_key.split(".")
    other = server.token("service_role").split(".")[2]
    assert await refusal(server, f"{head}.{body}.{other}") == (
        401,
        {"error": "Failed to validate JWT signature"},
    )


async def test_a_key_without_role_is_refused(server: TidewireServer) -> None:
    status, body = await refusal(server, server.token(None))
    assert (status, body["error"]) == (401, "Fields `role` and `exp` are required in JWT")


@pytest.mark.parametrize("vsn", ["3.0.0", "1", "2.1.0", "x", "2.0.0.0"])
async def test_another_serializer_is_refused_with_an_empty_403(
    server: TidewireServer, vsn: str
) -> None:
    url = f"{server.url}/realtime/v1/websocket".replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{url}?apikey={server.anon_key}&vsn={vsn}", proxy=None):
            pass
    assert refused.value.response.status_code == 403
    assert not refused.value.response.body


async def test_the_key_may_come_in_a_header_which_wins(server: TidewireServer) -> None:
    headers = {"x-api-key": server.anon_key}
    async with raw_socket(server.url, "rubbish", headers=headers) as raw:
        await raw.heartbeat()


async def test_a_key_is_percent_decoded_and_its_white_space_removed(
    server: TidewireServer,
) -> None:
    spaced = f" {server.anon_key[:20]} {server.anon_key[20:]}\n".replace(".", "%2E")
    async with raw_socket(server.url, spaced) as raw:
        await raw.heartbeat()


async def test_a_plain_get_of_the_socket_is_refused_as_no_upgrade(server: TidewireServer) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{server.url}/realtime/v1/websocket", timeout=10)
    assert answer.status_code == 400


@pytest.mark.parametrize("ref", ["12", 12, None, "", 'ü\n"', 1.5, [1], {"a": None}])
@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_a_heartbeat_echoes_its_ref_whatever_it_is(
    server: TidewireServer, vsn: str, ref: Any
) -> None:
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        await raw.send([None, ref, "phoenix", "heartbeat", {}])
        reply = await raw.next("phx_reply")
        assert reply == [None, ref, "phoenix", "phx_reply", {"status": "ok", "response": {}}]


async def test_supabase_js_sees_its_heartbeats_answered(
    server: TidewireServer, js: StockJs
) -> None:
    client = await js.client(server.url, server.anon_key, heartbeatIntervalMs=200)
    await (await client.channel("heartbeat")).subscribe()
    for _ in range(2):
        await client.heartbeats.next(lambda status: status == "sent")
        await client.heartbeats.next(lambda status: status == "ok")
    assert "timeout" not in client.heartbeats.seen


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_supabase_js_with_a_bad_key_gets_a_channel_error(
    server: TidewireServer, js: StockJs, vsn: str
) -> None:
    client = await js.client(server.url, "bad", vsn=vsn)
    channel = await client.channel("refused")
    await channel.start()
    await channel.expect_status("CHANNEL_ERROR")


async def test_every_client_subscribes(stock: MakeClient) -> None:
    client = await stock()
    channel = await client.channel("hello:world")
    started = time.monotonic()
    await channel.subscribe()
    assert time.monotonic() - started < 5
