"""The HTTP application: routes by subject, one form of error, one answer to preflights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.http.authenticate import UnauthorizedRequestError, handle_unauthorized
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


def build_app(
    *,
    readiness: Callable[[], Readiness],
    read_samples: ReadSamples,
    page: PageConfig,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The whole application.

    Args:
        readiness: Of `health.health_routes`.
        read_samples: Of `metrics.metrics_routes`.
        page: Of `page.page_routes`.
        routes: More, by other subjects; they come first.
    """
    return Starlette(
        routes=[
            *routes,
            *socket_routes(),
            *health_routes(readiness),
            *metrics_routes(read_samples),
            *page_routes(page),
        ],
        middleware=[Middleware(Preflight)],
        exception_handlers={
            UnauthorizedRequestError: handle_unauthorized,
            HTTPException: handle_http_exception,
            Exception: handle_crash,
        },
    )
