"""Unmodified supabase-py clients, in this process."""

from __future__ import annotations

import asyncio
from typing import Any

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient

from tests.support.inbox import DEADLINE_S
from tests.support.stock import Entry, StockChannel, StockClient, plain_state, without_bookkeeping


class PyClient(StockClient):
    """One client of the `realtime` package, the one inside supabase-py."""

    name = "py"
    is_python = True

    def __init__(self, url: str, key: str) -> None:
        self.realtime = AsyncRealtimeClient(f"{url}/realtime/v1", token=key)
        self._starting: set[asyncio.Task[Any]] = set()

    async def channel(
        self,
        topic: str,
        *,
        config: dict[str, Any] | None = None,
        changes: list[Entry] | None = None,
        presence: bool = False,
    ) -> PyChannel:
        defaults = {
            "broadcast": {"ack": False, "self": False},
            "presence": {"key": "", "enabled": False},
            "private": False,
        }
        params: Any = {"config": {**defaults, **(config or {})}}
        channel = PyChannel(self.realtime.channel(topic, params), topic, self._starting)
        for number, entry in enumerate(changes or []):
            channel.listen_to_changes(entry, number)
        if presence:
            channel.listen_to_presence()
        return channel

    async def set_auth(self, token: str) -> None:
        await self.realtime.set_auth(token)

    async def close(self) -> None:
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        async with asyncio.timeout(DEADLINE_S):
            await self.realtime.remove_all_channels()


class PyChannel(StockChannel):
    """One channel of a supabase-py client."""

    def __init__(
        self, channel: AsyncRealtimeChannel, topic: str, starting: set[asyncio.Task[Any]]
    ) -> None:
        super().__init__(topic)
        self.channel = channel
        self._starting = starting
        channel.on_broadcast("*", self._take_broadcast)
        channel.on_system(lambda payload: self.systems.put(payload.model_dump()))

    def listen_to_changes(self, entry: Entry, number: int) -> None:
        self.channel.on_postgres_changes(
            callback=lambda payload: self._take_change(payload, number), **entry
        )

    def listen_to_presence(self) -> None:
        channel = self.channel
        channel.on_presence_sync(lambda: self.syncs.put(plain_state(channel.presence_state())))
        channel.on_presence_join(
            lambda key, _before, new: self.joins.put((key, [without_bookkeeping(m) for m in new]))
        )
        channel.on_presence_leave(
            lambda key, _left, gone: self.leaves.put((key, [without_bookkeeping(m) for m in gone]))
        )

    async def start(self) -> None:
        task = asyncio.create_task(self.channel.subscribe(self._take_status))
        self._starting.add(task)
        task.add_done_callback(self._started)

    async def send(self, event: str, payload: Any) -> str:
        await self.channel.send_broadcast(event, payload)
        return "ok"

    async def track(self, payload: dict[str, Any]) -> None:
        await self.channel.track(payload)

    async def untrack(self) -> None:
        await self.channel.untrack()

    async def leave(self) -> None:
        await self.channel.unsubscribe()

    async def presence(self) -> dict[str, list[dict[str, Any]]]:
        return plain_state(self.channel.presence_state())

    def _started(self, task: asyncio.Task[Any]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.statuses.put(("RAISED", str(task.exception())))

    def _take_status(self, status: Any, error: Exception | None) -> None:
        self.statuses.put((str(status.value), None if error is None else str(error)))

    def _take_broadcast(self, payload: Any) -> None:
        shown = ("event", "payload", "meta")
        self.broadcasts.put({name: payload[name] for name in shown if name in payload})

    def _take_change(self, payload: Any, number: int) -> None:
        data = payload["data"]
        self.changes.put(
            {
                "type": str(getattr(data["type"], "value", data["type"])),
                "schema": data["schema"],
                "table": data["table"],
                "new": data.get("record") or {},
                "old": data.get("old_record") or {},
                "commit_timestamp": data["commit_timestamp"],
                "errors": data["errors"],
                "entry": number,
                "ids": payload["ids"],
            }
        )
