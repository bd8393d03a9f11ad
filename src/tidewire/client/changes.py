"""The changes of one table, as they are committed, one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import msgspec

from tidewire.client.channel import Channel
from tidewire.client.errors import (
    ChangesLostError,
    ChannelClosedError,
    SubscriptionRefusedError,
)
from tidewire.client.frames import ServerFrame, decode_object
from tidewire.core.errors import ProtocolViolationError

QUEUE_COUNT_MAX = 10_000


class Change(msgspec.Struct, frozen=True):
    """One committed change of one row.

    Attributes:
        type: ``INSERT``, ``UPDATE`` or ``DELETE``.
        schema: Schema of the table.
        table: Its name.
        new: The row after it, by column; None for DELETE. Numerics are `Decimal`.
        old: The row before it, or its key columns only (unless REPLICA IDENTITY FULL); None
            for INSERT.
        commit_timestamp: When it was committed, ISO 8601, UTC.
        errors: What the server could not show of it, such as a record that is too large.
        position: Its place in the order of all changes, as an opaque cursor. None for now.
    """

    type: str
    schema: str
    table: str
    new: dict[str, Any] | None
    old: dict[str, Any] | None
    commit_timestamp: str | None
    errors: tuple[str, ...] = ()
    position: str | None = None


class _Column(msgspec.Struct, frozen=True):
    name: str
    type: str


_NULL = msgspec.Raw(b"null")


class _Data(msgspec.Struct, frozen=True):
    type: str
    schema: str
    table: str
    commit_timestamp: str | None = None
    columns: tuple[_Column, ...] = ()
    record: msgspec.Raw = _NULL
    old_record: msgspec.Raw = _NULL
    errors: tuple[str, ...] | None = None


class _Payload(msgspec.Struct, frozen=True):
    data: _Data


_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_record = msgspec.json.Decoder(dict[str, Any] | None).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_decode_value = msgspec.json.Decoder(Any).decode
_decode_decimal = msgspec.json.Decoder(Decimal | None).decode
_decode_decimals = msgspec.json.Decoder(Any, float_hook=Decimal).decode


def decode_change(payload: msgspec.Raw) -> Change:
    """Read the payload of a ``postgres_changes`` frame.

    Raises:
        ProtocolViolationError: It is none.
    """
    try:
        data = _decode_payload(payload).data
        new = _decode_row(data.record, data.columns)
        old = _decode_row(data.old_record, data.columns)
    except msgspec.DecodeError as error:
        raise ProtocolViolationError(str(error)) from None
    return Change(
        data.type, data.schema, data.table, new, old, data.commit_timestamp, data.errors or ()
    )


def _decode_row(row: msgspec.Raw, columns: tuple[_Column, ...]) -> dict[str, Any] | None:
    """A row's values; numerics keep every digit, which a float would not."""
    exact = {
        column.name: _decode_decimal if column.type == "numeric" else _decode_decimals
        for column in columns
        if column.type in ("numeric", "_numeric")
    }
    if not exact:
        return _decode_record(row)
    fields = _decode_fields(row)
    if fields is None:
        return None
    return {name: exact.get(name, _decode_value)(value) for name, value in fields.items()}


class ChangeStream:
    """An endless iterator over changes; made by `RealtimeClient.changes`.

    Iterating subscribes. Changes wait in a queue of at most `QUEUE_COUNT_MAX`; when it is full
    the stream ends: what waits is still given, then `ChangesLostError` is raised, so nothing
    goes missing unseen. The subscription comes back by itself after a broken link; changes
    committed meanwhile are not seen, and `interruptions` counts up. Leave with `aclose`, or use
    ``async with``; else it lasts as long as its client.
    """

    def __init__(self, queue_count_max: int = QUEUE_COUNT_MAX) -> None:
        """Use `RealtimeClient.changes`."""
        self.interruptions = 0
        """How often the subscription broke off since the start."""
        self._queue: deque[Change] = deque()
        self._queue_count_max = queue_count_max
        self._failure: BaseException | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._channel: Channel | None = None
        self._on_end: Callable[[], object] | None = None
        self._task: asyncio.Task[None] | None = None

    def attach(self, channel: Channel, *, on_end: Callable[[], object]) -> None:
        """Name the channel that feeds it, and whom to tell at the end; for the client."""
        self._channel = channel
        self._on_end = on_end

    async def ready(self) -> None:
        """Wait until changes flow: whatever is committed after this returned will come.

        Raises:
            RealtimeError: The subscription was refused, or ended; `code` and `kind` say how.
        """
        self._start()
        await self._subscribed.wait()
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise ChannelClosedError("the stream was closed")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """The next change.

        Raises:
            RealtimeError: The subscription was refused, or ended; `code` and `kind` say how.
        """
        self._start()
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Leave. Iterating afterwards gives what waits and then ends."""
        self._end(None)
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,))

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def joined(self, response: dict[str, Any]) -> None:
        """See `ChannelListener.joined`; the system message that follows says more."""

    def interrupted(self) -> None:
        """See `ChannelListener.interrupted`."""
        self.interruptions += 1

    def event_received(self, event: str, frame: ServerFrame) -> None:
        """See `ChannelListener.event_received`."""
        if event == "postgres_changes":
            self._take(decode_change(frame.payload))
        elif event == "system":
            self._read_system(decode_object(frame.payload))

    def _read_system(self, payload: dict[str, Any]) -> None:
        if payload.get("extension") != "postgres_changes":
            return
        if payload.get("status") == "ok":
            self._subscribed.set()
        else:
            self.fail(SubscriptionRefusedError(str(payload.get("message", ""))))

    def _take(self, change: Change) -> None:
        if self._closed:
            return
        if len(self._queue) >= self._queue_count_max:
            self.fail(ChangesLostError("changes came faster than they were taken"))
            return
        self._queue.append(change)
        self._wake.set()

    def _start(self) -> None:
        if self._task is None and not self._closed:
            assert self._channel is not None
            self._task = asyncio.create_task(self._channel.run(), name="tidewire-changes")
            self._task.add_done_callback(self._channel_ended)

    def fail(self, failure: BaseException) -> None:
        """End it for a reason that iterating raises; for the client."""
        self._end(failure)
        if self._task is not None:
            self._task.cancel()

    def _channel_ended(self, task: asyncio.Task[None]) -> None:
        self._end(None if task.cancelled() else task.exception())
        if self._on_end is not None:
            self._on_end()

    def _end(self, failure: BaseException | None) -> None:
        """Close the stream; the first reason counts."""
        if not self._closed:
            self._closed, self._failure = True, failure
        self._wake.set()
        self._subscribed.set()
