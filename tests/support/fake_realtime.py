"""A realtime server that does as a test tells it: real sockets, no database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

DEADLINE_S = 5.0


class FakeRealtime:
    """Speaks serializer 2.0.0 and says yes, until a test changes that.

    Attributes:
        received: Every text frame from any client, decoded.
        sockets: Links that are open now, oldest first.
        upgrades: Each request to connect.
        answers_heartbeats: Set False for a peer that went silent.
        answers_joins: Set False to leave joins without an answer.
        join_answer: Gives the reply to a join's payload.
        system_answer: Gives the system message after an accepted join, or None.
        refusal: Status and body to refuse upgrades with.
    """

    def __init__(self) -> None:
        self.received: list[list[Any]] = []
        self.sockets: list[ServerConnection] = []
        self.upgrades: list[Request] = []
        self.answers_heartbeats = True
        self.answers_joins = True
        self.join_answer: Callable[[dict[str, Any]], dict[str, Any]] = accept_join
        self.system_answer: dict[str, Any] | None = system("ok", "Subscribed to PostgreSQL")
        self.refusal: tuple[HTTPStatus, str] | None = None
        self._server: Server | None = None
        self._news = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *, port: int = 0) -> None:
        self._server = await serve(
            self._serve_link, "127.0.0.1", port, process_request=self._check, ping_interval=None
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds; looked at after each frame, connection and end."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(lambda: bool(condition()))

    def frames(self, event: str) -> list[list[Any]]:
        return [frame for frame in self.received if frame[3] == event]

    async def push(self, topic: str, event: str, payload: object, **refs: Any) -> None:
        frame = [refs.get("join_ref"), refs.get("ref"), topic, event, payload]
        for socket in list(self.sockets):
            await socket.send(json.dumps(frame))

    def drop_links(self) -> None:
        """End every link without a close frame."""
        for socket in self.sockets:
            socket.transport.abort()

    async def _check(self, _socket: ServerConnection, request: Request) -> Response | None:
        self.upgrades.append(request)
        await self._tell()
        if self.refusal is None:
            return None
        status, body = self.refusal
        return _socket.respond(status, body)

    async def _serve_link(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        await self._tell()
        try:
            async for data in socket:
                await self._answer(socket, json.loads(data))
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(socket)
            await self._tell()

    async def _answer(self, socket: ServerConnection, frame: list[Any]) -> None:
        join_ref, ref, topic, event, payload = frame
        self.received.append(frame)
        await self._tell()
        if event == "heartbeat":
            if self.answers_heartbeats:
                await _reply(socket, None, ref, topic, {"status": "ok", "response": {}})
        elif event == "phx_join" and self.answers_joins:
            answer = self.join_answer(payload)
            await _reply(socket, join_ref, ref, topic, answer)
            if answer["status"] == "ok" and self.system_answer is not None:
                message = [join_ref, None, topic, "system", self.system_answer]
                await socket.send(json.dumps(message))
        elif event == "phx_leave":
            await _reply(socket, join_ref, ref, topic, {"status": "ok", "response": {}})
            await socket.send(json.dumps([join_ref, join_ref, topic, "phx_close", {}]))

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def accept_join(payload: dict[str, Any]) -> dict[str, Any]:
    entries = payload["config"]["postgres_changes"]
    numbered = [{**entry, "id": number + 1} for number, entry in enumerate(entries)]
    return {"status": "ok", "response": {"postgres_changes": numbered}}


def refuse_join(reason: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda _payload: {"status": "error", "response": {"reason": reason}}


def system(status: str, message: str, *, extension: str = "postgres_changes") -> dict[str, Any]:
    return {"extension": extension, "status": status, "message": message, "channel": "x"}


async def _reply(
    socket: ServerConnection, join_ref: object, ref: object, topic: str, payload: object
) -> None:
    await socket.send(json.dumps([join_ref, ref, topic, "phx_reply", payload]))


@contextlib.asynccontextmanager
async def fake_realtime() -> AsyncGenerator[FakeRealtime]:
    server = FakeRealtime()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
