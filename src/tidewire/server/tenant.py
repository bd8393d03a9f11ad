"""One tenant: a project with a database, keys and limits of its own, wholly apart from others.

A server without tenants in its settings has exactly one, made of the settings themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.node import Node
from tidewire.ports.change_source import ChangeSource
from tidewire.server.keys import Keys
from tidewire.server.numbers import TenantNumbers
from tidewire.server.settings import Settings
from tidewire.transports.websocket import SocketGroup

DEFAULT_TENANT = "default"
"""Name of the only tenant of a server whose settings name none."""

Part = tuple[str, Callable[[], Awaitable[None]]]
"""Something that runs as long as its tenant does: name, and what to await."""


class TenantPlan(msgspec.Struct, frozen=True):
    """What a tenant is made from.

    Attributes:
        name: Unique within the server.
        settings: Its own: what it sets for itself lies over the server's.
        folder: Where its records are kept.
        database_url: What to stream from, and to read the catalogue of.
        secret: What its tokens are signed with.
        keys: Its keys.
        is_demo: Whether there is sample data.
        checker_password: Of the login that judges its rows.
    """

    name: str
    settings: Settings
    folder: Path
    database_url: str
    secret: str
    keys: Keys
    is_demo: bool = False
    checker_password: str = ""

    @property
    def is_only(self) -> bool:
        """Whether the settings name no tenants, so that this one is the whole server."""
        return self.name == DEFAULT_TENANT


class Tenant(msgspec.Struct, frozen=True):
    """All parts of one running tenant.

    Attributes:
        plan: What it was made from.
        node: Its engine.
        router: Takes its stream's transactions.
        source: Streams them.
        numbers: What was counted.
        sockets: What its connections share.
        app: Its HTTP routes.
        parts: What runs as long as it does, in the order of its start.
        openers: Awaited in order before anybody is let in.
        closers: Awaited at the end, the last first.
    """

    plan: TenantPlan
    node: Node
    router: ChangeRouter
    source: ChangeSource
    numbers: TenantNumbers
    sockets: SocketGroup
    app: ASGIApp
    parts: list[Part]
    openers: list[Callable[[], Awaitable[None]]]
    closers: list[Callable[[], Awaitable[None]]]

    @property
    def name(self) -> str:
        """Unique within the server."""
        return self.plan.name
