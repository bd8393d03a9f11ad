"""Routes for those who look after the server: each kind opened by tokens of a secret of its own.

Source: wire specification 9.1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from tidewire.core.clock import Clock
from tidewire.core.errors import TokenError
from tidewire.ports.token_verifier import TokenVerifier

Endpoint = Callable[[Request], Awaitable[Response]]


class BearerGuard:
    """Opens routes to bearers of a valid token; everybody else gets 403 with an empty body."""

    def __init__(self, verifier: TokenVerifier, clock: Clock) -> None:
        """Args: who vouches for tokens, and the time."""
        self._verifier = verifier
        self._clock = clock

    def guards(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, behind this guard."""

        async def guarded(request: Request) -> Response:
            if not self._is_open_to(request.headers.get("authorization", "")):
                return Response(status_code=403, headers={"Cache-Control": "no-store"})
            return await endpoint(request)

        return guarded

    def _is_open_to(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return False
        try:
            self._verifier.verify(token.strip(), now_s=self._clock.wall_s())
        except TokenError:
            return False
        return True
