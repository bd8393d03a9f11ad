"""Which tenant a request is for, told by its host; and what a stranger is answered.

A host belongs to the tenant that names it, else to the one whose name is its first label (wire
specification 1.1). Names of this machine's loopback belong to the first tenant, as the ready
file's address does. A server of one tenant that names no hosts takes every host.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.core.host_name import first_label, host_name, is_loopback
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.http.origins import ORIGIN_NOT_ALLOWED
from tidewire.http.responses import error_response, is_preflight, json_response, preflight_response
from tidewire.ports.transport import Accept, Refusal, UpgradeRequest
from tidewire.protocol.phoenix import codes
from tidewire.server.tenant_runner import TenantRunner
from tidewire.server.upgrades import Decision, Grant
from tidewire.transports.websocket import SocketGroup

_BROADCAST_PATHS = ("/api/broadcast", "/realtime/v1/api/broadcast")
_TENANT_LABEL = "tenant"


class TenantDirectory:
    """All tenants of a server, by name and by host."""

    def __init__(self, runners: Sequence[TenantRunner]) -> None:
        """Args: the tenants, the first one that which programs of this machine mean."""
        assert runners, "a server has a tenant"
        self.runners = tuple(runners)
        self._by_name = {runner.name: runner for runner in runners}
        self._by_host = {
            host.lower().removesuffix("."): runner
            for runner in runners
            for host in runner.plan.settings.tenant.hosts
        }
        first = runners[0]
        self._is_single = first.plan.is_only
        self._takes_every_host = self._is_single and not self._by_host

    def named(self, name: str) -> TenantRunner | None:
        """The tenant with this name."""
        return self._by_name.get(name)

    def find(self, host_header: str) -> TenantRunner | None:
        """The tenant that a Host header names; None when it is nobody's."""
        if self._takes_every_host:
            return self.runners[0]
        host = host_name(host_header)
        found = self._by_host.get(host) or self._by_name.get(first_label(host))
        if found is None and host and is_loopback(host):
            found = self.runners[0]
        return found

    # ------------------------------------------------------------ WebSockets

    def accept(self, request: UpgradeRequest) -> Decision | Awaitable[Decision]:
        """Decide on an upgrade: find the tenant, and let it decide."""
        runner = self.find(request.host)
        if runner is None:
            return _refusal(404, codes.TENANT_NOT_FOUND)
        origin = request.headers.get("origin", "")
        if not runner.origins.allows(origin, host=request.host):
            return _refusal(403, ORIGIN_NOT_ALLOWED)
        if runner.is_suspended:
            return _refusal(403, codes.TENANT_DISABLED)
        tenant = runner.tenant
        if tenant is None:
            return _refusal(500, codes.NOT_CONNECTED)
        answer = tenant.node.accept(request)
        if inspect.isawaitable(answer):
            return _grant_later(answer, tenant.sockets)
        return answer if isinstance(answer, Refusal) else Grant(answer, tenant.sockets)

    # ------------------------------------------------------------ HTTP

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand an HTTP request to its tenant's application."""
        answer = self._app_for(scope)
        await answer(scope, receive, send)

    def _app_for(self, scope: Scope) -> ASGIApp:
        request = Request(scope)
        runner = self.find(request.headers.get("host", ""))
        is_served = runner is not None and not runner.is_suspended
        if is_served and runner is not None and runner.tenant is not None:
            return runner.tenant.app
        if is_preflight(request):
            return preflight_response(request)
        is_broadcast = request.url.path.startswith(_BROADCAST_PATHS)
        if runner is None:
            return _unknown(is_broadcast=is_broadcast)
        if not is_served:
            return _suspended(is_broadcast=is_broadcast)
        return error_response(codes.NOT_CONNECTED, status=503, headers={"Retry-After": "5"})

    # ------------------------------------------------------------ all of them together

    def readiness(self) -> Readiness:
        """Ready when every tenant is; of several, each check carries its tenant's name."""
        if self._is_single:
            return self.runners[0].readiness()
        checks: dict[str, str] = {}
        is_ready = True
        for runner in self.runners:
            if runner.is_suspended:
                checks[f"{runner.name}.tenant"] = "suspended"
                continue
            now = runner.readiness()
            is_ready = is_ready and now.ready
            checks |= {f"{runner.name}.{part}": told for part, told in now.checks.items()}
        return Readiness(is_ready, checks)

    def samples(self) -> Iterable[Sample]:
        """Every tenant's numbers; of several, labelled by tenant."""
        for runner in self.runners:
            label = {} if self._is_single else {_TENANT_LABEL: runner.name}
            for sample in runner.samples():
                if label:
                    labels = {**label, **sample.labels}
                    yield msgspec.structs.replace(sample, labels=labels)
                else:
                    yield sample


async def _grant_later(
    deciding: Awaitable[Accept | Refusal], sockets: SocketGroup
) -> Grant | Refusal:
    answer = await deciding
    return answer if isinstance(answer, Refusal) else Grant(answer, sockets)


def _refusal(status: int, text: str) -> Refusal:
    return Refusal(status, msgspec.json.encode({"error": text}))


def _unknown(*, is_broadcast: bool) -> Response:
    if is_broadcast:  # wire specification 4.7
        return json_response({"message": "Tenant not found in database"}, status=401)
    return error_response(codes.TENANT_NOT_FOUND, status=404)


def _suspended(*, is_broadcast: bool) -> Response:
    if is_broadcast:  # wire specification 4.7
        return json_response({"message": "Tenant is suspended"}, status=403)
    return error_response(codes.TENANT_DISABLED, status=403)
