"""Broadcasting without a socket, by unmodified clients and by hand: specification 4.6 to 4.9."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from realtime import RealtimeHTTPError

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock_js import JsError, StockJs, pack
from tests.support.stock_py import PyClient
from tests.support.tables import unused_name

BASES = ("/realtime/v1/api/broadcast", "/api/broadcast")
ODD_NAME = 'a/b c?d=1#e&f%20 "ü🚆'


async def post(server: TidewireServer, path: str, **request: Any) -> httpx.Response:
    headers = {"apikey": server.anon_key, **request.pop("headers", {})}
    async with httpx.AsyncClient(base_url=server.url) as http:
        return await http.post(path, headers=headers, **request)


# ------------------------------------------------------------------ stock clients


async def test_http_send_of_supabase_js_reaches_every_kind_of_client(
    server: TidewireServer, js: StockJs, stock: MakeClient
) -> None:
    topic = unused_name("room") + ODD_NAME
    receiver = await (await stock()).channel(topic)
    await receiver.subscribe()
    sender = await (await js.client(server.url, server.anon_key)).channel(topic)
    sent = {"n": 1, "text": 'ü"\\'}
    answer = await sender.call("httpSend", event=ODD_NAME, payload=sent)
    assert answer == {"success": True}
    assert await receiver.broadcasts.next() == {"event": ODD_NAME, "payload": sent}


async def test_http_send_of_supabase_py_reaches_every_kind_of_client(
    server: TidewireServer, stock: MakeClient
) -> None:
    topic = unused_name("room") + ODD_NAME
    receiver = await (await stock()).channel(topic)
    await receiver.subscribe()
    client = PyClient(server.url, server.anon_key)
    sender = await client.channel(topic)
    await sender.channel.http_send(ODD_NAME, {"n": 1})
    assert await receiver.broadcasts.next() == {"event": ODD_NAME, "payload": {"n": 1}}
    await client.close()


@pytest.mark.parametrize("body", [b"\x00\x01\xff", b"", b'{"not":"json"'])
async def test_bytes_over_http_arrive_byte_for_byte(
    server: TidewireServer, js: StockJs, body: bytes
) -> None:
    topic = unused_name("room")
    receiver = await (await js.client(server.url, server.anon_key)).channel(topic)
    await receiver.subscribe()
    sender = await (await js.client(server.url, server.anon_key)).channel(topic)
    await sender.call("httpSend", event="bytes", payload=pack(body))
    assert await receiver.broadcasts.next() == {"event": "bytes", "payload": body}


async def test_send_on_a_channel_not_joined_goes_over_http(
    server: TidewireServer, js: StockJs, stock: MakeClient
) -> None:
    topic = unused_name("room")
    receiver = await (await stock()).channel(topic)
    await receiver.subscribe()
    sender = await (await js.client(server.url, server.anon_key)).channel(topic)
    assert await sender.send("e", {"x": 1}) == "ok"
    assert await receiver.broadcasts.next() == {"event": "e", "payload": {"x": 1}}


async def test_a_private_http_send_without_the_right_is_told(
    server: TidewireServer, js: StockJs
) -> None:
    private = {"private": True}
    sender = await (await js.client(server.url, server.anon_key)).channel("x", config=private)
    with pytest.raises(JsError, match="Unauthorized"):
        await sender.call("httpSend", event="e", payload={"x": 1})
    client = PyClient(server.url, server.anon_key)
    py = await client.channel("x", config=private)
    with pytest.raises(RealtimeHTTPError, match="Unauthorized") as refused:
        await py.channel.http_send("e", {"x": 1})
    assert refused.value.status == 403
    await client.close()


async def test_a_private_http_send_reaches_the_private_room_only(
    server: TidewireServer, js: StockJs
) -> None:
    topic = unused_name("room")
    client = await js.client(server.url, server.service_key)
    inside = await client.channel(topic, config={"private": True})
    await inside.subscribe()
    outside = await (await js.client(server.url, server.anon_key)).channel(topic)
    await outside.subscribe()
    await inside.call("httpSend", event="secret", payload={"x": 1})
    assert await inside.broadcasts.next() == {"event": "secret", "payload": {"x": 1}}
    assert await outside.call("httpSend", event="open", payload={"x": 2}) == {"success": True}
    assert await outside.broadcasts.next() == {"event": "open", "payload": {"x": 2}}
    assert not inside.broadcasts.items


# ------------------------------------------------------------------ by hand


@pytest.mark.parametrize("base", BASES)
async def test_a_batch_reaches_its_rooms_as_text_with_its_ids(
    server: TidewireServer, base: str
) -> None:
    topics = [unused_name("room"), unused_name("room")]
    async with (
        raw_socket(server.url, server.anon_key, vsn="2.0.0") as new,
        raw_socket(server.url, server.anon_key, vsn="1.0.0") as old,
    ):
        await new.join(f"realtime:{topics[0]}")
        await old.join(f"realtime:{topics[1]}")
        first = {"topic": topics[0], "event": "e", "payload": {"n": 1}, "id": "abc"}
        second = {"topic": topics[1], "event": "f", "payload": {"n": 2}}
        answer = await post(server, base, json={"messages": [first, second]})
        assert (answer.status_code, answer.content) == (202, b"")
        for socket, topic, told in (
            (new, topics[0], {"event": "e", "payload": {"n": 1}, "meta": {"id": "abc"}}),
            (old, topics[1], {"event": "f", "payload": {"n": 2}}),
        ):
            frame = await socket.next("broadcast")
            assert frame == [
                None,
                None,
                f"realtime:{topic}",
                "broadcast",
                {**told, "type": "broadcast"},
            ]


@pytest.mark.parametrize("base", BASES)
async def test_the_key_may_stand_in_the_query(server: TidewireServer, base: str) -> None:
    path = f"{base}/t/events/e?apikey={server.anon_key}&vsn=2.0.0"
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post(path, json={})
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_batch_without_messages_is_refused(server: TidewireServer) -> None:
    answer = await post(server, BASES[0], json={"messages": []})
    assert answer.status_code == 422
    assert answer.json() == {"errors": {"messages": ["can't be blank"]}}


@pytest.mark.parametrize(
    ("path", "request_", "status", "body"),
    [
        ("", {"json": {"messages": [{}]}}, 422, None),
        ("/t/events/e", {"content": b"x", "headers": {"content-type": "text/plain"}}, 415, None),
        ("/t/events/e?private=true", {"json": {}}, 403, {"message": "Unauthorized"}),
        ("/t/events/e", {"content": b"{"}, 400, {"message": "The body is not JSON"}),
        ("/t/events/e", {"content": b'"' + b"x" * 4_000_000 + b'"'}, 422, None),
        ("/t/events/e", {"content": b"x" * 8_000_001}, 413, None),
        ("", {"content": b"x" * 8_000_001}, 413, None),
        ("", {"json": {}, "headers": {"apikey": "no"}}, 401, {"message": "Unauthorized"}),
    ],
)
async def test_what_is_refused_has_its_status_and_text(
    server: TidewireServer, path: str, request_: dict[str, Any], status: int, body: Any
) -> None:
    answer = await post(server, BASES[0] + path, **request_)
    assert answer.status_code == status
    assert body is None or answer.json() == body


async def test_a_browsers_question_is_answered(server: TidewireServer) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey,authorization,content-type",
    }
    async with httpx.AsyncClient(base_url=server.url) as http:
        for path in ("", "/t/events/e"):
            answer = await http.options(BASES[0] + path, headers=headers)
            assert answer.status_code in {200, 204}
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert {"apikey", "authorization", "content-type"} <= set(allowed.split(","))
