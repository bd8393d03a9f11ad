"""Routes to look at tenants, and to make one anew. Source: wire specification 9.1.

Tenants are made by the settings file, so there are no routes that create, change or delete one.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.http.app import SITE_FOLDER
from tidewire.http.bearer_guard import BearerGuard
from tidewire.http.responses import error_response, json_response


class TenantHealth(msgspec.Struct, frozen=True):
    """How a tenant is.

    Attributes:
        healthy: Whether it can do all its work.
        db_connected: Whether its database was prepared.
        replication_connected: Whether its stream is live.
        connected_cluster: Open connections.
        region: Where it runs; "" when nobody said.
        node: Name of its engine.
    """

    healthy: bool
    db_connected: bool
    replication_connected: bool
    connected_cluster: int
    region: str = ""
    node: str = ""


class TenantAdmin(Protocol):
    """What these routes need of the tenants."""

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Each tenant's settings by its name, without secrets."""
        ...

    def health(self, name: str) -> TenantHealth | None:
        """How a tenant is; None for an unknown one."""
        ...

    def make_anew(self, name: str) -> bool:
        """End a tenant's connections and make its parts anew; False for an unknown one."""
        ...


def tenant_admin_routes(admin: TenantAdmin, guard: BearerGuard) -> list[Route]:
    """The routes, open to those whom `guard` lets in."""

    async def show_all(_: Request) -> Response:
        return json_response({"data": list(admin.descriptions().values())})

    async def show(request: Request) -> Response:
        found = admin.descriptions().get(_name(request))
        return _absent() if found is None else json_response({"data": found})

    async def health(request: Request) -> Response:
        found = admin.health(_name(request))
        return _absent() if found is None else json_response({"data": found})

    async def make_anew(request: Request) -> Response:
        return Response(status_code=204) if admin.make_anew(_name(request)) else _absent()

    one = f"{SITE_FOLDER}/{{name}}"
    return [
        Route(SITE_FOLDER, guard.guards(show_all)),
        Route(one, guard.guards(show)),
        Route(f"{one}/health", guard.guards(health)),
        Route(f"{one}/reload", guard.guards(make_anew), methods=["POST"]),
        # A tenant that was shut down comes back with its next client; ours is back at once.
        Route(f"{one}/shutdown", guard.guards(make_anew), methods=["POST"]),
    ]


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _absent() -> Response:
    return error_response("not found", status=404)
