"""One topic of a connection: joined, joined again after every break, left at the end.

`run` is the whole life: wait for a link, join, wait until the join ends, and again, until the
server refuses it for good. Refs tie an answer to its join, so what comes late is not mistaken.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Protocol

from tidewire.client.backoff import Backoff
from tidewire.client.connection import Connection
from tidewire.client.errors import (
    ChannelClosedError,
    ConnectionLostError,
    SubscriptionRefusedError,
)
from tidewire.client.frames import Reply, ServerFrame, decode_object, decode_reply
from tidewire.client.settings import ClientSettings
from tidewire.core.errors import ProtocolViolationError, RealtimeError

_FINAL_REASONS = frozenset(
    {
        "InvalidJWTToken",
        "JwtSignatureError",
        "JwtSignerError",
        "MalformedJWT",
        "PrivateOnly",
        "RealtimeDisabledForConfiguration",
        "RealtimeDisabledForTenant",
        "TenantNotFound",
        "TopicNameRequired",
        "Unauthorized",
    }
)
"""Codes of join replies that trying again does not mend. Source: wire specification 3.5."""


class ChannelListener(Protocol):
    """What a channel tells. Must not raise and must not block."""

    def joined(self, response: dict[str, Any]) -> None:
        """A join was accepted, the first one or a later one."""
        ...

    def interrupted(self) -> None:
        """The join ended; the channel is trying to join again."""
        ...

    def event_received(self, event: str, frame: ServerFrame) -> None:
        """A frame of the present join that is neither a reply nor about its life."""
        ...


class Channel:
    """See the head of this file."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        listener: ChannelListener,
        *,
        make_join: Callable[[], dict[str, Any]],
        settings: ClientSettings,
        chance: random.Random,
    ) -> None:
        """Nothing is sent before `run`.

        Args:
            connection: The link to join over.
            topic: Wire name, prefix included.
            listener: Told what happens.
            make_join: Gives the payload of each join anew, so that it has the newest token.
            settings: Times and bounds.
            chance: Where jitter is drawn from.
        """
        self._connection = connection
        self._topic = topic
        self._listener = listener
        self._make_join = make_join
        self._settings = settings
        self._backoff = Backoff(settings.backoff_base_s, settings.backoff_max_s, chance)
        self._join_ref: str | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._last_error = ""

    async def run(self) -> None:
        """Be joined until cancelled; leaves on the way out.

        Raises:
            SubscriptionRefusedError: The server refused the join for good.
            ChannelClosedError: The server ended the channel.
            ConnectionRefusedByServerError: There will be no link.
        """
        self._connection.register(self._topic, self)
        try:
            while True:
                await self._connection.wait_open()
                with contextlib.suppress(ConnectionLostError, TimeoutError):
                    await self._join_once()
                self._join_ref = None
                await asyncio.sleep(self._backoff.next_delay_s())
        finally:
            self._connection.unregister(self._topic)
            await self._leave()

    def frame_received(self, frame: ServerFrame) -> None:
        """See `FrameReceiver.frame_received`."""
        if self._join_ref is None or frame.join_ref not in (None, self._join_ref):
            return
        try:
            self._handle(frame)
        except ProtocolViolationError as error:
            self._end(error)

    def link_lost(self) -> None:
        """See `FrameReceiver.link_lost`."""
        self._end(ConnectionLostError("the link broke"))

    async def _join_once(self) -> None:
        """Join, and stay until the join ends."""
        loop = asyncio.get_running_loop()
        self._reply, self._ended = loop.create_future(), loop.create_future()
        self._join_ref = ref = self._connection.make_ref()
        try:
            async with asyncio.timeout(self._settings.join_timeout_s):
                await self._connection.send(ref, ref, self._topic, "phx_join", self._make_join())
                await asyncio.wait((self._reply, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if self._reply.done() and not self._accept(self._reply.result()):
                return
            await self._ended
        finally:
            _retrieve(self._ended)

    def _accept(self, reply: Reply) -> bool:
        """Whether the join stands; False when it is worth another try."""
        if reply.status == "ok":
            self._backoff.reset()
            self._listener.joined(reply.response)
            return True
        reason = str(reply.response.get("reason", ""))
        kind, colon, text = reason.partition(": ")
        if colon and kind in _FINAL_REASONS:
            raise SubscriptionRefusedError(text, kind)
        return False

    def _handle(self, frame: ServerFrame) -> None:
        if frame.event == "phx_reply":
            if frame.ref == self._join_ref and self._reply and not self._reply.done():
                self._reply.set_result(decode_reply(frame.payload))
        elif frame.event == "phx_close":
            self._end(ChannelClosedError(self._last_error or "the server closed the channel"))
        elif frame.event == "phx_error":
            self._end(ConnectionLostError("the channel failed on the server"))
        else:
            if frame.event == "system":
                self._note_system(decode_object(frame.payload))
            self._listener.event_received(frame.event, frame)

    def _note_system(self, payload: dict[str, Any]) -> None:
        """Keep what a system message says: the reason of a close comes just before it."""
        if payload.get("status") == "error":
            self._last_error = str(payload.get("message", ""))

    def _end(self, error: RealtimeError) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
            self._listener.interrupted()

    async def _leave(self) -> None:
        join_ref, self._join_ref = self._join_ref, None
        if join_ref is None:
            return
        with contextlib.suppress(ConnectionLostError):  # without a link the server knows already
            ref = self._connection.make_ref()
            await self._connection.send(join_ref, ref, self._topic, "phx_leave", {})


def _retrieve(future: asyncio.Future[None]) -> None:
    """Mark the outcome as seen, so that asyncio does not warn about it."""
    if future.done() and not future.cancelled():
        future.exception()
