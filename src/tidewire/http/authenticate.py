"""Who sends an HTTP request. Source: wire specification 1.3, 4.7."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tidewire.core.clock import Clock
from tidewire.core.errors import TokenError
from tidewire.engine.vouching import verify_patiently
from tidewire.http.responses import json_response
from tidewire.ports.token_verifier import Claims, TokenVerifier


class UnauthorizedRequestError(HTTPException):
    """The caller is not known, or may not do this; answered with ``{"message": …}``.

    Raised in a route, it becomes the answer by itself.
    """

    def __init__(self, status: int = 401, message: str = "Unauthorized") -> None:
        """Args: HTTP status, and the text of the answer."""
        super().__init__(status, message)


async def authenticate(request: Request, verifier: TokenVerifier, clock: Clock) -> Claims:
    """Whom the request speaks for: its bearer token's owner, else its API key's.

    The key is taken from the header ``apikey``, else from the query parameter of that name.
    Opaque ``sb_…`` keys count in each place.

    Raises:
        UnauthorizedRequestError: There is no token, or it is refused; the answer tells no more.
    """
    token = _bearer(request) or request.headers.get("apikey") or request.query_params.get("apikey")
    if not token:
        raise UnauthorizedRequestError
    try:
        return await verify_patiently(verifier, token, clock)
    except TokenError:
        raise UnauthorizedRequestError from None


async def handle_unauthorized(request: Request, error: Exception) -> Response:
    """The answer to an `UnauthorizedRequestError`."""
    assert isinstance(error, UnauthorizedRequestError)
    return json_response({"message": error.detail}, status=error.status_code)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
