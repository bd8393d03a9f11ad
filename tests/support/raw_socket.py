"""A client that sends and sees the frames themselves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.inbox import DEADLINE_S, Inbox

Frame = list[Any]
"""[join_ref, ref, topic, event, payload], whichever the serializer."""


class RawSocket:
    """One link; `frames` holds what came, text frames as `Frame`, binary ones as bytes.

    Attributes:
        raw: Text frames exactly as they came.
        close_code: Once closed by the peer.
    """

    def __init__(self, socket: ClientConnection, vsn: str) -> None:
        self.socket = socket
        self.version = int(vsn[0])
        self.frames = Inbox(f"raw {vsn}")
        self.raw: list[str] = []
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self._refs = itertools.count(1)
        self._reader = asyncio.create_task(self._read())

    async def send(self, frame: Frame) -> None:
        join_ref, ref, topic, event, payload = frame
        if self.version == 2:
            await self.socket.send(json.dumps(frame))
            return
        keys = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        await self.socket.send(json.dumps({**keys, "join_ref": join_ref} if join_ref else keys))

    async def push(self, topic: str, event: str, payload: Any, *, join_ref: Any = None) -> str:
        """Send with a new ref, and give it."""
        ref = f"r{next(self._refs)}"
        await self.send([join_ref, ref, topic, event, payload])
        return ref

    async def ask(self, topic: str, event: str, payload: Any, *, join_ref: Any = None) -> Any:
        """Send, wait for the reply, and give its payload."""
        ref = await self.push(topic, event, payload, join_ref=join_ref)
        reply = await self.frames.next(lambda frame: is_reply(frame, ref))
        return reply[4]

    async def join(self, topic: str, config: Any = None, **more: Any) -> Any:
        """Join with a new ref as join_ref too; gives (join_ref, payload of the reply)."""
        ref = f"r{next(self._refs)}"
        await self.send([ref, ref, topic, "phx_join", {"config": config or {}, **more}])
        reply = await self.frames.next(lambda frame: is_reply(frame, ref))
        return ref, reply[4]

    async def heartbeat(self) -> None:
        """A round trip: whatever the server wrote before is here afterwards."""
        reply = await self.ask("phoenix", "heartbeat", {})
        assert reply == {"status": "ok", "response": {}}

    async def next(self, event: str, *, within_s: float = DEADLINE_S) -> Frame:
        """The next frame with this event."""

        def matches(frame: Any) -> bool:
            return isinstance(frame, list) and frame[3] == event

        return await self.frames.next(matches, within_s=within_s)

    async def wait_closed(self, *, within_s: float = DEADLINE_S) -> int | None:
        async with asyncio.timeout(within_s):
            await self.closed.wait()
        return self.close_code

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    def abort(self) -> None:
        """End without a close frame."""
        self.socket.transport.abort()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in self.socket:
                if isinstance(data, bytes):
                    self.frames.put(data)
                else:
                    self.raw.append(data)
                    self.frames.put(self._decode(data))
        self.close_code = self.socket.close_code
        self.closed.set()

    def _decode(self, text: str) -> Frame:
        value = json.loads(text)
        if self.version == 2:
            assert isinstance(value, list), text
            assert len(value) == 5, text
            return value
        assert set(value) == {"topic", "event", "payload", "ref"}, text
        return [None, value["ref"], value["topic"], value["event"], value["payload"]]


def is_reply(frame: Any, ref: Any) -> bool:
    return isinstance(frame, list) and frame[3] == "phx_reply" and frame[1] == ref


@contextlib.asynccontextmanager
async def raw_socket(
    url: str,
    key: str | None,
    *,
    vsn: str = "2.0.0",
    path: str = "/realtime/v1/websocket",
    headers: dict[str, str] | None = None,
    names_vsn: bool = True,
) -> AsyncGenerator[RawSocket]:
    """Connect; closed at the end."""
    parameters = {"apikey": key, "vsn": vsn if names_vsn else None}
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    address = f"{url.replace('http', 'ws', 1)}{path}?{query}"
    async with asyncio.timeout(DEADLINE_S):
        socket = await connect(
            address,
            additional_headers=headers,
            ping_interval=None,
            max_size=None,
            close_timeout=2,
            proxy=None,
        )
    raw = RawSocket(socket, vsn)
    try:
        yield raw
    finally:
        await raw.close()


def binary_broadcast_push(
    join_ref: str, ref: str, topic: str, event: str, payload: bytes, *, encoding: int
) -> bytes:
    """A kind-3 frame. Source: wire specification 2.3."""
    fields = [join_ref.encode(), ref.encode(), topic.encode(), event.encode(), b""]
    head = bytes([3, *(len(field) for field in fields), encoding])
    return head + b"".join(fields) + payload


def read_binary_broadcast(data: bytes) -> tuple[str, str, bytes, int, bytes]:
    """Topic, event, metadata, encoding and payload of a kind-4 frame."""
    kind, topic_size, event_size, meta_size, encoding = data[:5]
    assert kind == 4, data
    position, fields = 5, []
    for size in (topic_size, event_size, meta_size):
        fields.append(data[position : position + size])
        position += size
    return fields[0].decode(), fields[1].decode(), fields[2], encoding, data[position:]
