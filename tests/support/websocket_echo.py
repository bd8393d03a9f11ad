"""An echo server on the real stack: in a thread for tests, or by itself for other programs.

`python -m tests.support.websocket_echo --port 9001 [--loop uvloop] [--max-bytes N]`
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import uvloop

from tidewire.ports.transport import Accept, Acceptor, MessageReceiver, Transport, UpgradeRequest
from tidewire.protocol.websocket.frames import (
    binary_frame,
    compressed_binary_frame,
    compressed_text_frame,
    text_frame,
)
from tidewire.server.listen import WebServer
from tidewire.transports.limits import SocketLimits

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
PATHS = frozenset(("/", "/echo", "/realtime/v1/websocket"))


class Echo:
    """Sends every message back."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.close_codes: list[int | None] = []
        self.told: list[str] = []

    def message_received(self, payload: bytes, is_text: bool) -> None:
        if self.transport.supports_deflate:
            frame = compressed_text_frame if is_text else compressed_binary_frame
        else:
            frame = text_frame if is_text else binary_frame
        self.transport.write(frame(payload))

    def connection_lost(self, close_code: int | None) -> None:
        self.close_codes.append(close_code)

    def writing_paused(self) -> None:
        self.told.append("paused")

    def writing_resumed(self) -> None:
        self.told.append("resumed")


async def hello_app(
    scope: dict[str, Any],
    receive: Callable[[], Coroutine[Any, Any, dict[str, Any]]],
    send: Callable[[dict[str, Any]], Coroutine[Any, Any, None]],
) -> None:
    """Answers every HTTP request with its method, path and client."""
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    client = scope["client"][0] if scope["client"] else ""
    text = f"{scope['method']} {scope['path']} {client} {len(body)}".encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class ServerThread:
    """A `WebServer` with its own event loop in its own thread, for blocking clients.

    Attributes:
        requests: Upgrades asked for.
        receivers: One for each connection accepted.
        slow_consumers: Peers cut off because they did not read.
    """

    def __init__(
        self,
        *,
        loop: str = "asyncio",
        limits: SocketLimits | None = None,
        make_receiver: Callable[[Transport], MessageReceiver] = Echo,
        acceptor: Acceptor | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trusted_proxies: tuple[str, ...] = (),
        port: int = 0,
    ) -> None:
        self.requests: list[UpgradeRequest] = []
        self.receivers: list[Any] = []
        self.slow_consumers = 0
        self.errors: list[dict[str, Any]] = []
        self._make_receiver = make_receiver
        self._loop_name = loop
        self._server = WebServer(
            hello_app,
            acceptor or self._accept_all,
            host="127.0.0.1",
            port=port,
            limits=limits,
            paths=PATHS,
            ssl_context=ssl_context,
            trusted_proxies=trusted_proxies,
            on_slow_consumer=self._count_slow,
        )
        self._address: Future[tuple[str, int]] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ServerThread:
        self._thread.start()
        self.address = self._address.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def accept(self, transport: Transport) -> MessageReceiver:
        receiver = self._make_receiver(transport)
        self.receivers.append(receiver)
        return receiver

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the server's loop and give back its result."""

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @property
    def connection_count(self) -> int:
        return self._server.connection_count

    def wait_for(self, condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
        """Wait until `condition`, evaluated between the server's turns, holds."""
        deadline = time.monotonic() + timeout_s
        while not self.call(condition):
            assert time.monotonic() < deadline, "the condition did not come true in time"

    def receiver(self, at: int = 0) -> Any:
        """The receiver of a connection; it is made just after the client sees its upgrade."""
        self.wait_for(lambda: len(self.receivers) > at)
        return self.receivers[at]

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(15)
            assert not self._thread.is_alive()

    def _accept_all(self, request: UpgradeRequest) -> Accept:
        self.requests.append(request)
        return self.accept

    def _count_slow(self) -> None:
        self.slow_consumers += 1

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=LOOPS[self._loop_name]) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self._stop = asyncio.Event()
        try:
            self._address.set_result(await self._server.start())
        except BaseException as error:
            self._address.set_exception(error)
            raise
        await self._stop.wait()
        await self._server.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, default="uvloop")
    parser.add_argument("--max-bytes", type=int, default=16 << 20)
    options = parser.parse_args()
    limits = SocketLimits(
        max_message_bytes=options.max_bytes, write_buffer_bytes=2 * options.max_bytes
    )
    with ServerThread(loop=options.loop, limits=limits, port=options.port) as server:
        print(f"echo on port {server.address[1]}", flush=True)  # noqa: T201 - a program here
        threading.Event().wait()


if __name__ == "__main__":
    main()
