"""The HTTP applications: routes by subject, one form of error, one answer to preflights.

A server has one site, which answers for the process, and hands everything else to the
application of the tenant that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.http.authenticate import UnauthorizedRequestError, handle_unauthorized
from tidewire.http.bearer_guard import BearerGuard
from tidewire.http.health import Readiness, health_routes
from tidewire.http.metrics import ReadSamples, metrics_routes
from tidewire.http.page import PageConfig, page_routes
from tidewire.http.realtime import socket_routes
from tidewire.http.responses import (
    handle_crash,
    handle_http_exception,
    is_preflight,
    preflight_response,
)

SITE_PATHS = frozenset(
    ("/healthz", "/healthcheck", "/readyz", "/metrics", "/api/ping", "/realtime/v1/api/ping")
)
"""What is answered for the process, whatever host is asked for."""

SITE_FOLDER = "/api/tenants"
"""Below it, tenants are looked after: also for the process."""


class Preflight:
    """Answers preflights of every path before routing: a route need not know of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight here, hand everything else on."""
        if scope["type"] == "http":
            request = Request(scope)
            if is_preflight(request):
                await preflight_response(request)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Site:
    """Everything that HTTP reaches on one port."""

    def __init__(self, process: ASGIApp, tenants: ASGIApp) -> None:
        """Args: what answers for the process, and what finds and asks the tenant's application."""
        self._process = process
        self._tenants = tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the one whose it is."""
        path: str = scope.get("path", "")
        is_process = path in SITE_PATHS or path == SITE_FOLDER or path.startswith(f"{SITE_FOLDER}/")
        await (self._process if is_process else self._tenants)(scope, receive, send)


def build_site(
    *,
    readiness: Callable[[], Readiness],
    read_samples: ReadSamples,
    tenants: ASGIApp,
    routes: Sequence[BaseRoute] = (),
    metrics_guard: BearerGuard | None = None,
) -> Site:
    """The whole site.

    Args:
        readiness: Of `health.health_routes`.
        read_samples: Of `metrics.metrics_routes`.
        tenants: Answers everything else.
        routes: More that belong to the process; all below `SITE_FOLDER`.
        metrics_guard: Of `metrics.metrics_routes`.
    """
    metrics = metrics_routes(read_samples, metrics_guard)
    return Site(_application([*routes, *health_routes(readiness), *metrics]), tenants)


def build_app(*, page: PageConfig, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """One tenant's application.

    Args:
        page: Of `page.page_routes`.
        routes: More, by other subjects; they come first.
    """
    return _application([*routes, *socket_routes(), *page_routes(page)])


def _application(routes: Sequence[BaseRoute]) -> Starlette:
    return Starlette(
        routes=list(routes),
        middleware=[Middleware(Preflight)],
        exception_handlers={
            UnauthorizedRequestError: handle_unauthorized,
            HTTPException: handle_http_exception,
            Exception: handle_crash,
        },
    )
