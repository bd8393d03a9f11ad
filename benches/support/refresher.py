"""Channels that listen to the written table and refresh their tokens at a pace: run as a program.

Usage: python -m benches.support.refresher URL KEY SECRET CHANNELS. Each channel joins with a
token of its own, and from then on refreshes it once a second with a new one, all spread evenly.
Prints ``{"joined": true}`` when all have joined, reads a line, stops refreshing and prints what
came: refreshes sent, channels closed, and of each channel how many rows it got, once and twice.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import jwt
from websockets.asyncio.client import ClientConnection, connect

from benches.support.feed import join_config

CHANNELS_PER_SOCKET = 50
LIFETIME_S = 3600


class Socket:
    """One connection with its channels."""

    def __init__(self, connection: ClientConnection, first: int, secret: str) -> None:
        self.connection = connection
        self.first = first
        self.secret = secret
        self.rows: list[Counter[int]] = [Counter() for _ in range(CHANNELS_PER_SOCKET)]
        self.joined = 0
        self.closed = 0
        self.refreshes = 0
        self.all_joined = asyncio.Event()

    def token(self, channel: int) -> str:
        self.refreshes += 1
        now = int(time.time())
        claims = {"role": "authenticated", "sub": f"user-{self.first + channel}", "iat": now}
        claims |= {"exp": now + LIFETIME_S, "jti": self.refreshes}
        return jwt.encode(claims, self.secret, "HS256")

    async def join(self) -> None:
        for channel in range(CHANNELS_PER_SOCKET):
            payload = {"config": json.loads(join_config()), "access_token": self.token(channel)}
            await self.push(channel, "phx_join", payload)
        await self.all_joined.wait()
        self.refreshes = 0

    async def push(self, channel: int, event: str, payload: object) -> None:
        topic = f"realtime:refresh-{channel}"
        await self.connection.send(json.dumps([f"{channel}", "1", topic, event, payload]))

    async def refresh(self, stop: asyncio.Event) -> None:
        """Refresh each channel once a second, one after the other."""
        began_s, number = time.monotonic(), 0
        while not stop.is_set():
            due_s = began_s + number / CHANNELS_PER_SOCKET
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            channel = number % CHANNELS_PER_SOCKET
            await self.push(channel, "access_token", {"access_token": self.token(channel)})
            number += 1

    async def read(self) -> None:
        async for text in self.connection:
            _, _, topic, event, payload = json.loads(text)
            if event == "postgres_changes":
                channel = int(topic.rpartition("-")[2])
                self.rows[channel][payload["data"]["record"]["seq"]] += 1
            elif event == "phx_reply" and payload["status"] == "ok" and "ids" not in payload:
                self.joined += 1
                if self.joined == CHANNELS_PER_SOCKET:
                    self.all_joined.set()
            elif event in ("phx_close", "phx_error"):
                self.closed += 1


async def run(url: str, key: str, secret: str, channels: int) -> None:
    query = urlencode({"apikey": key, "vsn": "2.0.0"})
    address = f"{url.replace('http', 'ws', 1)}/realtime/v1/websocket?{query}"
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        sockets: list[Socket] = []
        for first in range(0, channels, CHANNELS_PER_SOCKET):
            connection = await stack.enter_async_context(connect(address, proxy=None))
            sockets.append(Socket(connection, first, secret))
        readers = [asyncio.create_task(socket.read()) for socket in sockets]
        await asyncio.gather(*[socket.join() for socket in sockets])
        print(json.dumps({"joined": True}), flush=True)
        refreshers = [asyncio.create_task(socket.refresh(stop)) for socket in sockets]
        began_s = time.monotonic()
        await asyncio.to_thread(sys.stdin.readline)
        took_s = time.monotonic() - began_s
        stop.set()
        await asyncio.gather(*refreshers)
        told = {
            "refreshes_per_s": sum(socket.refreshes for socket in sockets) / took_s,
            "closed": sum(socket.closed for socket in sockets),
            "rows": [len(rows) for socket in sockets for rows in socket.rows],
            "doubles": sum(sum(rows.values()) - len(rows) for s in sockets for rows in s.rows),
        }
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
