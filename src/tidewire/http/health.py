"""Is the process alive, and can it do its work?"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tidewire.http.responses import CORS_HEADERS, json_response


class Readiness(msgspec.Struct, frozen=True):
    """Whether the server can do its work now.

    Attributes:
        ready: All of it.
        checks: Name of each part to what there is to say of it, such as ``stream: live``.
    """

    ready: bool
    checks: dict[str, str]


def health_routes(readiness: Callable[[], Readiness]) -> list[Route]:
    """Routes that load balancers and people ask.

    Source: wire specification 9.1 for ``/healthcheck`` and ``/api/ping``.

    Args:
        readiness: Says how things are; called once per request, must not wait.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok", headers={"Cache-Control": "no-store", **CORS_HEADERS})

    async def readyz(_: Request) -> Response:
        now = readiness()
        return json_response(now, status=200 if now.ready else 503)

    async def ping(_: Request) -> Response:
        return json_response({"message": "Success"})

    return [
        Route("/healthz", healthz),
        Route("/healthcheck", healthz),
        Route("/readyz", readyz),
        Route("/api/ping", ping),
        Route("/realtime/v1/api/ping", ping),
    ]
