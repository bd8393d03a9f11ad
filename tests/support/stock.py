"""One face for the unmodified clients, so that a case runs with each of them.

What a client shows is brought into one form here and nothing else: the JSON that supabase-js
and supabase-py give to their listeners.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.inbox import DEADLINE_S, Inbox

Entry = dict[str, Any]
"""A postgres_changes binding: event, schema, table, filter."""


class StockChannel(abc.ABC):
    """One channel of an unmodified client.

    Attributes:
        statuses: (status, error text or None) as given to `subscribe`.
        broadcasts: ``{"event", "payload"[, "meta"]}``.
        changes: ``{"type", "schema", "table", "new", "old", "commit_timestamp", "errors"}``,
            with ``"entry"`` the number of the binding where the client tells bindings apart.
        systems: Payloads of system messages.
        syncs: The presence state at each sync: key to list of tracked payloads.
        joins, leaves: (key, payloads) of presence.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.statuses = Inbox(f"{topic} statuses")
        self.broadcasts = Inbox(f"{topic} broadcasts")
        self.changes = Inbox(f"{topic} changes")
        self.systems = Inbox(f"{topic} systems")
        self.syncs = Inbox(f"{topic} syncs")
        self.joins = Inbox(f"{topic} joins")
        self.leaves = Inbox(f"{topic} leaves")

    @abc.abstractmethod
    async def start(self) -> None:
        """Subscribe, without waiting for a status."""

    @abc.abstractmethod
    async def send(self, event: str, payload: Any) -> str:
        """Broadcast; the client's own word for how it went."""

    @abc.abstractmethod
    async def track(self, payload: dict[str, Any]) -> None: ...

    @abc.abstractmethod
    async def untrack(self) -> None: ...

    @abc.abstractmethod
    async def leave(self) -> None: ...

    @abc.abstractmethod
    async def presence(self) -> dict[str, list[dict[str, Any]]]:
        """The client's present picture, bookkeeping keys left out."""

    async def subscribe(self) -> None:
        """Subscribe and wait for SUBSCRIBED."""
        await self.start()
        await self.expect_status("SUBSCRIBED")

    async def expect_status(self, status: str, *, within_s: float = DEADLINE_S) -> str | None:
        """The next status must be this one; gives its error text."""
        seen, error = await self.statuses.next(within_s=within_s)
        assert seen == status, f"{self.topic}: {seen} ({error}) instead of {status}"
        return error


class StockClient(abc.ABC):
    """One unmodified client."""

    name: str
    is_python = False

    @abc.abstractmethod
    async def channel(
        self,
        topic: str,
        *,
        config: dict[str, Any] | None = None,
        changes: list[Entry] | None = None,
        presence: bool = False,
    ) -> StockChannel:
        """A channel that listens to broadcasts and system messages, and to what is asked.

        Args:
            topic: Without its prefix.
            config: Join config as the client takes it.
            changes: Bindings to listen to.
            presence: Listen to presence too.
        """

    @abc.abstractmethod
    async def set_auth(self, token: str) -> None: ...

    @abc.abstractmethod
    async def close(self) -> None:
        """Leave all channels and close the socket."""


def without_bookkeeping(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A tracked payload without the refs that the wire adds."""
    hidden = ("presence_ref", "phx_ref", "phx_ref_prev")
    return {name: value for name, value in payload.items() if name not in hidden}


def plain_state(
    state: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """A presence state without bookkeeping."""
    return {key: [without_bookkeeping(meta) for meta in metas] for key, metas in state.items()}
