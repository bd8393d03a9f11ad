"""Broadcasting without a socket: the batch and the single broadcast.

Source: wire specification 4.7, 4.8. Topic and event are percent-decoded path segments, taken from
the path as it was sent: a name may hold an escaped slash.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.core.clock import Clock
from tidewire.core.errors import InvalidPersistenceError
from tidewire.core.message import PayloadEncoding
from tidewire.core.topic import Topic
from tidewire.engine.rest_broadcast import Outcome, RestBroadcasts, SingleBroadcast
from tidewire.http.authenticate import authenticate
from tidewire.http.responses import CORS_HEADERS, json_response
from tidewire.ports.token_verifier import TokenVerifier
from tidewire.protocol.phoenix.broadcast_batch import BLANK, TOO_LARGE, InvalidBatch, parse_batch
from tidewire.protocol.phoenix.codec_json import is_json
from tidewire.protocol.phoenix.persistence import ttl_of_query

BODY_BYTES_MAX = 8_000_000
"""Of a request. Source: wire specification 4.8."""

BODY_DEADLINE_S = 30.0
"""How long a caller may take to send it."""

_BASES = ("/realtime/v1/api/broadcast", "/api/broadcast")
_SEGMENTS = 3
_EVENTS = "events"
_JSON, _BYTES = "application/json", "application/octet-stream"
_UNSUPPORTED = "Unsupported Media Type. Use application/json or application/octet-stream"
_PRIVATE = {None: False, "false": False, "true": True}
_NOT_BOOLEAN = "must be true or false"
_PRIVATE_ONLY = "can only be used on private channels"


def broadcast_routes(
    broadcasts: RestBroadcasts, verifier: TokenVerifier, clock: Clock
) -> list[Route]:
    """The routes, below both prefixes.

    Args:
        broadcasts: Takes what was accepted.
        verifier: Of callers' tokens.
        clock: For their expiry.
    """
    routes = _Routes(broadcasts, verifier, clock)
    return [
        route
        for base in _BASES
        for route in (
            Route(base, routes.batch, methods=["POST"]),
            Route(base + "/{rest:path}", routes.single, methods=["POST"]),
        )
    ]


class _Routes:
    def __init__(self, broadcasts: RestBroadcasts, verifier: TokenVerifier, clock: Clock) -> None:
        self._broadcasts = broadcasts
        self._verifier = verifier
        self._clock = clock

    async def batch(self, request: Request) -> Response:
        claims = await authenticate(request, self._verifier, self._clock)
        body = await read_body(request)
        if _media_type(request) not in ("", _JSON):
            return json_response({"message": "Unsupported Media Type"}, status=415)
        entries = parse_batch(body, payload_bytes_max=self._broadcasts.payload_bytes_max)
        if entries is None:
            return json_response({"message": "The body is not a JSON object"}, status=400)
        if isinstance(entries, InvalidBatch):
            return json_response({"errors": entries.errors}, status=422)
        return _answer(await self._broadcasts.send_batch(entries, claims, request.headers))

    async def single(self, request: Request) -> Response:
        claims = await authenticate(request, self._verifier, self._clock)
        sub_topic, event = _names(request)
        private = _PRIVATE.get(request.query_params.get("private"))
        body = await read_body(request)
        encoding = _encoding(request)
        if encoding is None:
            return json_response({"error": _UNSUPPORTED}, status=415)
        if encoding is PayloadEncoding.JSON:
            body = body.strip() or b"{}"
            if not is_json(body):
                return json_response({"message": "The body is not JSON"}, status=400)
        if private is None:  # a guess might send to everybody what was meant for few
            return json_response({"errors": {"private": [_NOT_BOOLEAN]}}, status=422)
        topic = self._broadcasts.topic(sub_topic, private=private)
        if topic is None:
            return json_response({"errors": {"topic": [BLANK]}}, status=422)
        wish = _wish(request, topic)
        errors = {"persist": [wish]} if isinstance(wish, str) else {}
        if len(body) > self._broadcasts.payload_bytes_max:
            errors["payload"] = [TOO_LARGE]
        if errors or isinstance(wish, str):
            return json_response({"errors": errors}, status=422)
        message = SingleBroadcast(topic, event, body, encoding, wish)
        return _answer(
            await self._broadcasts.send_one(message, claims=claims, headers=request.headers)
        )


def _wish(request: Request, topic: Topic) -> int | str | None:
    """For how long the message is to be kept, or why it cannot be."""
    try:
        ttl_s = ttl_of_query(request.query_params)
    except InvalidPersistenceError as error:
        return error.code
    return ttl_s if ttl_s is None or topic.private else _PRIVATE_ONLY


def _answer(outcome: Outcome) -> Response:
    if outcome.refusal is None:
        return Response(status_code=202, headers={**CORS_HEADERS, **outcome.headers})
    return json_response(
        {"message": outcome.refusal.message},
        status=outcome.refusal.status,
        headers=outcome.headers,
    )


async def read_body(request: Request) -> bytes:
    """The whole body, within a bound and a deadline.

    Raises:
        HTTPException: 413 as soon as it is too large, 408 when it does not come.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > BODY_BYTES_MAX:
        raise HTTPException(413, "Request Entity Too Large")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise HTTPException(413, "Request Entity Too Large")
                chunks.append(chunk)
    except TimeoutError:
        raise HTTPException(408, "Request Timeout") from None
    return b"".join(chunks)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _encoding(request: Request) -> PayloadEncoding | None:
    media_type = _media_type(request)
    if media_type in ("", _JSON):
        return PayloadEncoding.JSON
    return PayloadEncoding.BINARY if media_type == _BYTES else None


def _names(request: Request) -> tuple[str, str]:
    """Topic and event of the path."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    segments = path.partition(b"?")[0].partition(b"/api/broadcast/")[2].split(b"/")
    if len(segments) != _SEGMENTS or segments[1] != _EVENTS.encode():
        raise HTTPException(404)
    try:
        return unquote_to_bytes(segments[0]).decode(), unquote_to_bytes(segments[2]).decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "The path is not UTF-8") from None
