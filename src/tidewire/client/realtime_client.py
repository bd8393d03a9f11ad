"""The client: one link, and what is asked over it."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Any, Self

from tidewire.client.changes import QUEUE_COUNT_MAX, ChangeStream
from tidewire.client.channel import Channel
from tidewire.client.connection import Connection
from tidewire.client.settings import ClientSettings, OnStatus, Status


class RealtimeClient:
    """A client of one server, to be used with ``async with``.

    ::

        async with RealtimeClient("http://127.0.0.1:4000", key) as client:
            async for change in client.changes("trips", filter="status=eq.open"):
                print(change.type, change.new)

    Connects in the background and reconnects for ever, with full jitter; only a refusal that
    trying again does not mend ends it, and then whoever waits gets it raised.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str | None = None,
        on_status: OnStatus | None = None,
        settings: ClientSettings | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Nothing is opened before ``async with``.

        Args:
            url: Address of the server, such as ``http://127.0.0.1:4000``.
            key: The project's anon or service key.
            access_token: Token of a user, when another than `key` is to count.
            on_status: Told each new status of the link.
            settings: Times and bounds.
            chance: Where jitter is drawn from.

        Raises:
            InvalidRequestError: `url` is not the address of a server.
        """
        self._settings = settings or ClientSettings()
        self._chance = chance or random.Random()  # noqa: S311 - jitter, not a secret
        self._access_token = access_token
        self._connection = Connection(
            url, key, settings=self._settings, on_status=on_status, chance=self._chance
        )
        self._streams: dict[str, ChangeStream] = {}
        self._streams_made = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        """What there is to say of the link now."""
        return self._connection.status

    def set_access_token(self, token: str | None) -> None:
        """Use another token from the next join on; None for the key alone."""
        self._access_token = token

    async def wait_connected(self) -> None:
        """Wait until there is a link.

        Raises:
            ConnectionRefusedByServerError: There will be none.
        """
        await self._connection.wait_open()

    def changes(
        self,
        table: str,
        *,
        schema: str = "public",
        event: str = "*",
        filter: str | None = None,  # noqa: A002 - the wire's own word
        queue_count_max: int = QUEUE_COUNT_MAX,
    ) -> ChangeStream:
        """The changes of a table, or of all with ``*``; see `ChangeStream`.

        Args:
            table: Its name, or ``*``.
            schema: Its schema, or ``*``.
            event: ``INSERT``, ``UPDATE``, ``DELETE`` or ``*``.
            filter: Conditions such as ``status=eq.open,seats=gt.2``, all of which must hold.
            queue_count_max: How many changes may wait to be taken.
        """
        entry = {"event": event, "schema": schema, "table": table}
        if filter:
            entry["filter"] = filter
        stream = ChangeStream(queue_count_max)
        self._streams_made += 1
        topic = f"realtime:tidewire-changes-{self._streams_made}"
        channel = Channel(
            self._connection,
            topic,
            stream,
            make_join=lambda: self._join_payload(entry),
            settings=self._settings,
            chance=self._chance,
        )
        stream.attach(channel, on_end=lambda: self._streams.pop(topic, None))
        self._streams[topic] = stream
        return stream

    def _join_payload(self, entry: dict[str, str]) -> dict[str, Any]:
        config = {
            "broadcast": {"ack": False, "self": False},
            "presence": {"enabled": False},
            "postgres_changes": [entry],
            "private": False,
        }
        token = {"access_token": self._access_token} if self._access_token else {}
        return {"config": config, **token}

    async def __aenter__(self) -> Self:
        assert self._task is None, "a client is used once"
        self._task = asyncio.create_task(self._connection.run(), name="tidewire-connection")
        self._task.add_done_callback(self._link_ended)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in list(self._streams.values()):
            await stream.aclose()
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _link_ended(self, task: asyncio.Task[None]) -> None:
        """There will be no more links: whoever waits for changes gets told why."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            for stream in list(self._streams.values()):
                stream.fail(error)
