"""Tenants without databases, for what a server does with several."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from starlette.responses import PlainTextResponse

from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.ports.transport import Accept, Refusal, UpgradeRequest
from tidewire.server.keys import Keys
from tidewire.server.logging_setup import tenant_in_logs
from tidewire.server.settings import SecuritySettings, Settings, TenantSettings
from tidewire.server.tenant import Part, Tenant, TenantPlan
from tidewire.server.tenant_runner import TenantRunner


class PaperNode:
    """Takes every upgrade, and notes what is done to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepted: list[UpgradeRequest] = []
        self.drained = 0
        self.was_cut_off = False
        self.refusal: Refusal | None = None

    def accept(self, request: UpgradeRequest) -> Accept | Refusal:
        self.accepted.append(request)
        return self.refusal or cast("Accept", self.accepted.append)

    async def drain(self) -> None:
        self.drained += 1

    def cut_off(self) -> None:
        self.was_cut_off = True


class PaperTenant:
    """One tenant: what prepares it, builds it and runs in it can be told to fail.

    Attributes:
        built: Its parts, each time they were made.
        trouble: Raised by the next preparations; None when they work.
        crash: Raised by its part, as soon as it is set.
        logged_as: The tenant that a log line would name, at each preparation and part.
    """

    def __init__(self, name: str, *, is_alone: bool = False, **tenant: Any) -> None:
        origins = tenant.pop("origins", [])
        settings = Settings(
            tenant=TenantSettings(**tenant), security=SecuritySettings(allowed_origins=origins)
        )
        self.plan = TenantPlan(name, settings, Path(), "postgresql://nowhere", "", Keys("", ""))
        self.built: list[Tenant] = []
        self.prepared = 0
        self.logged_as: list[str] = []
        self.closed = 0
        self.trouble: Exception | None = None
        self.crash: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.runner = TenantRunner(
            self.plan,
            prepare=self._prepare,
            build=self._build,
            is_alone=is_alone,
            rng=random.Random(1),
        )

    @property
    def node(self) -> PaperNode:
        return cast("PaperNode", self.built[-1].node)

    async def _prepare(self) -> None:
        self.prepared += 1
        self.logged_as.append(tenant_in_logs.get())
        if self.trouble is not None:
            raise self.trouble

    def _build(self) -> Tenant:
        name = self.plan.name
        part: Callable[[], Awaitable[None]] = self._run_part
        parts: list[Part] = [("part", part)]
        self.crash = asyncio.get_running_loop().create_future()
        numbers = SimpleNamespace(
            readiness=lambda: Readiness(True, {"stream": "live"}),
            samples=lambda: [Sample("connections", "Open.", len(self.built))],
        )
        made: Any = {
            "plan": self.plan,
            "node": PaperNode(name),
            "router": None,
            "source": None,
            "numbers": numbers,
            "sockets": f"sockets of {name}",
            "app": PlainTextResponse(name),
            "parts": parts,
            "openers": [],
            "closers": [self._close],
        }
        self.built.append(Tenant(**made))
        return self.built[-1]

    async def _run_part(self) -> None:
        self.logged_as.append(tenant_in_logs.get())
        await asyncio.shield(self.crash)

    async def _close(self) -> None:
        self.closed += 1
