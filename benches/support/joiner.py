"""Private channels that join all at once or at a pace: run as a program.

Usage: python -m benches.support.joiner URL KEY SECRET CHANNELS PER_S. Each channel joins with a
token of its own. Prints ``{"connected": true}``, reads a line, joins (all at once when PER_S is
0) and prints how long it took to the last answer, and how many were let in and refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import jwt
from websockets.asyncio.client import ClientConnection, connect

CHANNELS_PER_SOCKET = 50
LIFETIME_S = 3600
CONFIG = {"private": True, "presence": {"enabled": True}, "broadcast": {"ack": True}}


def join_frame(channel: int, secret: str) -> str:
    now = int(time.time())
    claims = {"role": "authenticated", "sub": f"user-{channel}", "team": str(channel)}
    token = jwt.encode({**claims, "iat": now, "exp": now + LIFETIME_S}, secret, "HS256")
    payload = {"config": CONFIG, "access_token": token}
    return json.dumps(["1", "1", f"realtime:team:{channel}", "phx_join", payload])


class Answers:
    """Counts replies to joins; `all_there` is set with the last one."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.joined = 0
        self.refused = 0
        self.all_there = asyncio.Event()

    async def read(self, socket: ClientConnection) -> None:
        async for text in socket:
            _, ref, _, event, payload = json.loads(text)
            if event != "phx_reply" or ref != "1":
                continue
            self.joined += payload["status"] == "ok"
            self.refused += payload["status"] != "ok"
            if self.joined + self.refused == self.expected:
                self.all_there.set()


async def run(url: str, key: str, secret: str, channels: int, per_s: float) -> None:
    query = urlencode({"apikey": key, "vsn": "2.0.0"})
    address = f"{url.replace('http', 'ws', 1)}/realtime/v1/websocket?{query}"
    answers = Answers(channels)
    frames = [join_frame(channel, secret) for channel in range(channels)]
    async with AsyncExitStack() as stack:
        count = -(-channels // CHANNELS_PER_SOCKET)
        sockets = [
            await stack.enter_async_context(connect(address, proxy=None)) for _ in range(count)
        ]
        readers = [asyncio.create_task(answers.read(socket)) for socket in sockets]
        print(json.dumps({"connected": True}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_s = time.monotonic()
        for number, frame in enumerate(frames):
            if per_s:
                await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
            await sockets[number % count].send(frame)
        await answers.all_there.wait()
        took_s = time.monotonic() - began_s
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    told = {"took_s": took_s, "joined": answers.joined, "refused": answers.refused}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5])))
