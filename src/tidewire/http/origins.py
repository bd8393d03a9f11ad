"""Answers only pages of allowed origins, and lets no other read an answer."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidewire.core.origin import OriginPolicy
from tidewire.http.responses import error_response

ORIGIN_NOT_ALLOWED = "Origin not allowed"


class OriginGuard:
    """An HTTP application behind an `OriginPolicy`.

    Where all origins are allowed nothing changes: answers say ``*``. Else an allowed page is
    named in its answer, and a request of any other is refused before it does anything.
    """

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if self._policy.is_open or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if not self._policy.allows(origin, host=headers.get("host", "")):
            refusal = error_response(ORIGIN_NOT_ALLOWED, status=403)
            await refusal(scope, receive, _naming("", send))
            return
        await self._app(scope, receive, _naming(origin, send))


def _naming(origin: str, send: Send) -> Send:
    """`send` with the allowed origin in place of ``*``; "" for none."""

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "access-control-allow-origin" in headers:
                del headers["access-control-allow-origin"]
                if origin:
                    headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return send_named
