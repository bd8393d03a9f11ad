"""One link to a server: heartbeats, and a new link whenever it breaks.

`run` connects, reads frames and hands each to the channel of its topic, until cancelled or
refused for good. Silence is answered with a heartbeat and, when that stays unanswered, with a
new link: a half-open one is not waited for. Between attempts it waits with full jitter.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from tidewire.client.backoff import Backoff
from tidewire.client.errors import ConnectionLostError, ConnectionRefusedByServerError
from tidewire.client.frames import ServerFrame, decode_frame, encode_push
from tidewire.client.settings import ClientSettings, ConnectionState, OnStatus, Status
from tidewire.core.errors import InvalidRequestError, ProtocolViolationError

logger = logging.getLogger(__name__)

_FINAL_STATUSES = frozenset({400, 401, 403, 404})
_HEARTBEAT_TOPIC = "phoenix"


class FrameReceiver(Protocol):
    """Takes the frames of one topic. Must not raise and must not block."""

    def frame_received(self, frame: ServerFrame) -> None:
        """One frame on the topic."""
        ...

    def link_lost(self) -> None:
        """The link broke; whatever was asked on it stays unanswered."""
        ...


def endpoint_of(url: str) -> str:
    """The WebSocket address of a server's `url`.

    Takes ``http(s)`` and ``ws(s)``, with or without the path up to ``/realtime/v1``.

    Raises:
        InvalidRequestError: `url` is not such an address.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise InvalidRequestError(f"not the address of a server: {url!r}")
    path = parts.path.rstrip("/").removesuffix("/websocket")
    if not path.endswith(("/realtime/v1", "/socket")):
        path += "/realtime/v1"
    query = urlencode({"vsn": "2.0.0"})
    return urlunsplit((scheme, parts.netloc, f"{path}/websocket", query, ""))


class Connection:
    """See the head of this file.

    Attributes:
        status: What there is to say of the link now.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        settings: ClientSettings,
        on_status: OnStatus | None,
        chance: random.Random,
    ) -> None:
        """Nothing is opened yet.

        Raises:
            InvalidRequestError: `url` is not the address of a server.
        """
        self._endpoint = endpoint_of(url)
        self._key = key
        self._settings = settings
        self._on_status = on_status
        self._backoff = Backoff(settings.backoff_base_s, settings.backoff_max_s, chance)
        self._receivers: dict[str, FrameReceiver] = {}
        self._socket: ClientConnection | None = None
        self._opened = asyncio.Event()
        self._refusal: ConnectionRefusedByServerError | None = None
        self._next_ref = 0
        self._heartbeat_ref: str | None = None
        self.status = Status(ConnectionState.CONNECTING)

    def register(self, topic: str, receiver: FrameReceiver) -> None:
        """Name who takes the frames of `topic`."""
        assert topic not in self._receivers
        self._receivers[topic] = receiver

    def unregister(self, topic: str) -> None:
        """Frames of `topic` go nowhere from now on."""
        self._receivers.pop(topic, None)

    def make_ref(self) -> str:
        """A ref that this client has not used yet."""
        self._next_ref += 1
        return str(self._next_ref)

    async def wait_open(self) -> None:
        """Wait until there is a link.

        Raises:
            ConnectionRefusedByServerError: There will be none.
        """
        await self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    async def send(
        self, join_ref: str | None, ref: str, topic: str, event: str, payload: object
    ) -> None:
        """Send a frame on the present link.

        Raises:
            ConnectionLostError: There is none, it broke, or it did not take the frame in time.
        """
        socket = self._socket
        if socket is None:
            raise ConnectionLostError("not connected")
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await socket.send(encode_push(join_ref, ref, topic, event, payload))
        except (ConnectionClosed, TimeoutError) as error:
            raise ConnectionLostError(str(error) or "the socket took nothing in time") from None

    async def run(self) -> None:
        """Keep a link until cancelled.

        Raises:
            ConnectionRefusedByServerError: The server refused it for good.
        """
        try:
            while True:
                reason = await self._run_link()
                delay_s = self._backoff.next_delay_s()
                attempt = self._backoff.attempt
                self._tell(Status(ConnectionState.WAITING, reason, attempt, delay_s))
                await asyncio.sleep(delay_s)
        except ConnectionRefusedByServerError as error:
            self._refusal = error
            self._opened.set()
            self._tell(Status(ConnectionState.REFUSED, str(error)))
            raise
        finally:
            if self._refusal is None:
                self._tell(Status(ConnectionState.CLOSED))

    async def _run_link(self) -> str:
        """Hold one link until it ends; says why it did."""
        self._tell(Status(ConnectionState.CONNECTING, attempt=self._backoff.attempt))
        try:
            async with self._connect() as socket:
                try:
                    self._link_opened(socket)
                    await self._read_frames(socket)
                finally:
                    self._link_ended()
        except InvalidStatus as error:
            self._check_status(error)
            return f"the server answered with status {error.response.status_code}"
        except (WebSocketException, ConnectionLostError, OSError, EOFError) as error:
            return str(error) or type(error).__name__
        return "closed"

    def _connect(self) -> connect:
        return connect(
            self._endpoint,
            additional_headers={"x-api-key": self._key},
            open_timeout=self._settings.connect_timeout_s,
            close_timeout=1.0,  # seconds; a peer that is gone is not waited for
            ping_interval=None,  # heartbeats do that, and the server sees them too
            max_size=self._settings.message_bytes_max,
            user_agent_header=None,
            **_loopback_of(self._endpoint),
        )

    def _check_status(self, error: InvalidStatus) -> None:
        status = error.response.status_code
        if status in _FINAL_STATUSES:
            raise ConnectionRefusedByServerError(status, _error_text(error.response.body)) from None

    def _link_opened(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._heartbeat_ref = None
        self._tell(Status(ConnectionState.CONNECTED))
        self._opened.set()

    def _link_ended(self) -> None:
        self._socket = None
        self._opened.clear()
        for receiver in list(self._receivers.values()):
            receiver.link_lost()

    async def _read_frames(self, socket: ClientConnection) -> None:
        settings, now = self._settings, asyncio.get_running_loop().time
        heartbeat_due = now() + settings.heartbeat_interval_s
        while True:
            asked = self._heartbeat_ref is not None
            patience_s = settings.heartbeat_timeout_s if asked else settings.quiet_s
            try:
                async with asyncio.timeout(max(0.0, min(patience_s, heartbeat_due - now()))):
                    data = await socket.recv()
            except TimeoutError:
                if asked:
                    raise ConnectionLostError("the server did not answer a heartbeat") from None
                heartbeat_due = now() + settings.heartbeat_interval_s
                await self._send_heartbeat()
            else:
                self._heartbeat_ref = None  # whatever came is a sign of life
                self._backoff.reset()  # only now: a server that takes links and drops them waits
                self._dispatch(data)

    async def _send_heartbeat(self) -> None:
        self._heartbeat_ref = self.make_ref()
        await self.send(None, self._heartbeat_ref, _HEARTBEAT_TOPIC, "heartbeat", {})

    def _dispatch(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            return  # a binary broadcast: nothing here listens to broadcasts yet
        try:
            frame = decode_frame(data)
        except ProtocolViolationError as error:
            logger.warning("frame dropped", extra={"reason": str(error)})
            return
        receiver = self._receivers.get(frame.topic)
        if receiver is not None:
            receiver.frame_received(frame)

    def _tell(self, status: Status) -> None:
        self.status = status
        if self._on_status is None:
            return
        try:
            self._on_status(status)
        except Exception:  # the user's own code; the link does not depend on it
            logger.exception("on_status raised")


def _error_text(body: bytes | None) -> str:
    try:
        return msgspec.json.decode(body or b"", type=dict[str, str]).get("error", "")
    except msgspec.DecodeError:
        return ""


def _loopback_of(endpoint: str) -> dict[str, Any]:
    """Where to connect for a name below ``localhost``: this machine (RFC 6761 section 6.3).

    Not every resolver knows these names, by which a server tells its tenants apart.
    """
    parts = urlsplit(endpoint)
    if not (parts.hostname or "").endswith(".localhost"):
        return {}
    return {"host": "127.0.0.1", "port": parts.port or (443 if parts.scheme == "wss" else 80)}
