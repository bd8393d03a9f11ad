"""Who vouches for a caller."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec


class Claims(msgspec.Struct, frozen=True):
    """A verified token.

    Attributes:
        role: The database role it speaks for.
        expires_at_s: Seconds since 1970 UTC at which it ends, allowed clock skew included;
            infinite for a key that does not end.
        values: All claims, decoded.
    """

    role: str
    expires_at_s: float
    values: dict[str, Any]


class TokenVerifier(Protocol):
    """Verifies tokens: signature, required claims, expiry, and whether they were revoked.

    Takes the project's opaque keys (``sb_…``) too; whoever must ignore those asks first.
    """

    def verify(self, token: str, *, now_s: float) -> Claims:
        """Say whom `token` speaks for. A repeated call with one token is cheap.

        Raises:
            UnknownKeyError: It names a signing key that is not known. Call `refresh_keys` and
                try once more.
            TokenError: Refused; `kind` and the message are those of wire specification 1.4/3.5.
        """
        ...

    async def refresh_keys(self) -> None:
        """Bring the signing keys up to date, so that a key made a moment ago is known.

        Many callers share one look, and looks are limited in rate. Returns within seconds and
        never raises, whether or not anything could be fetched.
        """
        ...
