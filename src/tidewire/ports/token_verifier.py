"""Who vouches for a caller."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec


class Claims(msgspec.Struct, frozen=True):
    """A verified token.

    Attributes:
        role: The database role it speaks for.
        expires_at_s: Seconds since 1970 UTC at which it ends.
        values: All claims, decoded.
    """

    role: str
    expires_at_s: float
    values: dict[str, Any]


class TokenVerifier(Protocol):
    """Verifies tokens: signature, required claims, expiry."""

    def verify(self, token: str, *, now_s: float) -> Claims:
        """Say whom `token` speaks for. A repeated call with one token is cheap.

        Raises:
            TokenError: Refused; `kind` and the message are those of wire specification 1.4/3.5.
        """
        ...
