"""Answers that every route makes alike: JSON, errors, CORS."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

# Bearer keys, never cookies, say who calls, so any origin may ask.
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "*",
}
_CORS_MAX_AGE_S = 3600


def json_response(
    content: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """`content` as JSON, readable from any origin and never cached."""
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **CORS_HEADERS, **(headers or {})},
    )


def error_response(message: str, *, status: int, headers: dict[str, str] | None = None) -> Response:
    """An error in the form that the wire's clients read: ``{"error": "<text>"}``."""
    return json_response({"error": message}, status=status, headers=headers)


def preflight_response(request: Request) -> Response:
    """Answer to a browser's question whether it may send `request` from another origin."""
    asked = request.headers.get("access-control-request-headers", "")
    return Response(
        status_code=204,
        headers={
            **CORS_HEADERS,
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": asked or "*",
            "Access-Control-Max-Age": str(_CORS_MAX_AGE_S),
            "Vary": "Access-Control-Request-Headers",
        },
    )


def is_preflight(request: Request) -> bool:
    """Whether a browser only asks for permission."""
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """An unknown path, a wrong method and the like, as JSON."""
    assert isinstance(error, HTTPException)
    text = f"No such path: {request.url.path}" if error.status_code == 404 else error.detail
    return error_response(text, status=error.status_code, headers=dict(error.headers or {}))


async def handle_crash(request: Request, error: Exception) -> Response:
    """A mistake of ours: the caller learns no more than that; starlette raises it on to the log."""
    return error_response("Internal error", status=500)
