"""``POST /realtime/v1/api/revoke``: ends tokens before their time. For servers only.

Body, JSON: one of ``{"session_id": S}``, ``{"user_id": U}``, ``{"issued_before": T}`` or
``{"user_id": U, "issued_before": T}``, each with an optional ``"expires_at": T``. T is a time with
its zone (RFC 3339) or a number of seconds since 1970. Answered with 200 and ``{"id": N}`` once it
is in force on this server. The same from SQL: functions of ``realtime.revocations``.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.core.clock import Clock
from tidewire.core.errors import SetupError, UnavailableError
from tidewire.http.authenticate import UnauthorizedRequestError, authenticate
from tidewire.http.responses import json_response
from tidewire.ports.revocation_store import Revocation
from tidewire.ports.token_verifier import TokenVerifier

PATHS = ("/realtime/v1/api/revoke", "/api/revoke")
ROLE = "service_role"
BODY_BYTES_MAX = 16_384
SECONDS_MAX = 1e11
"""Year 5138; JSON has no infinity."""

logger = logging.getLogger(__name__)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)] | float


class Revoke(Protocol):
    """Revokes; see `RevocationStore.revoke`."""

    async def __call__(
        self,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        issued_before_s: float | None = None,
        expires_at_s: float | None = None,
    ) -> Revocation:
        """In force when it returns."""
        ...


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session_id: _Name | None = None
    user_id: _Name | None = None
    issued_before: _Time | None = None
    expires_at: _Time | None = None


def revoke_routes(verifier: TokenVerifier, clock: Clock, revoke: Revoke) -> list[Route]:
    """The route.

    Args:
        verifier: Says who asks.
        clock: For tokens, and for revoking a user's up to now.
        revoke: Does it.
    """

    async def answer(request: Request) -> Response:
        if (await authenticate(request, verifier, clock)).role != ROLE:
            raise UnauthorizedRequestError(403)
        try:
            body = _read(await _body_of(request))
        except ValueError as error:
            return json_response({"message": str(error)}, status=422)
        before_s = _seconds(body.issued_before)
        if body.session_id is None and before_s is None:
            before_s = clock.wall_s()
        try:
            made = await revoke(
                session_id=body.session_id,
                user_id=body.user_id,
                issued_before_s=before_s,
                expires_at_s=_seconds(body.expires_at),
            )
        except (UnavailableError, SetupError) as error:
            logger.warning("tokens were not revoked", extra={"reason": str(error)})
            return json_response({"message": "Tokens cannot be revoked now"}, status=503)
        return json_response({"id": made.id})

    return [Route(path, answer, methods=["POST"]) for path in PATHS]


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"The body is longer than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _read(body: bytes) -> _Body:
    """The body.

    Raises:
        ValueError: It is none of the forms; says why.
    """
    try:
        read = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    names_session = read.session_id is not None
    names_more = read.user_id is not None or read.issued_before is not None
    if names_session and names_more:
        raise ValueError("A session is revoked for good: give session_id alone")
    if not names_session and not names_more:
        raise ValueError("Give session_id, user_id or issued_before")
    return read


def _seconds(time: datetime | float | None) -> float | None:
    """Seconds since 1970 UTC, within what PostgreSQL's times reach."""
    if time is None:
        return None
    seconds = time.timestamp() if isinstance(time, datetime) else time
    return max(-SECONDS_MAX, min(seconds, SECONDS_MAX))
