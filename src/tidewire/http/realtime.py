"""Plain HTTP where only WebSockets are spoken."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.http.responses import error_response

_SOCKET_PATHS = ("/realtime/v1/websocket", "/socket/websocket")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def socket_routes() -> list[Route]:
    """Answers to requests for the socket that ask for no upgrade: 400.

    Upgrades never come here; the sniffer takes them. Source: wire specification 1.4.
    """

    async def refuse(_: Request) -> Response:
        return error_response("Ask for a WebSocket upgrade here", status=400)

    return [Route(path, refuse, methods=_METHODS) for path in _SOCKET_PATHS]
