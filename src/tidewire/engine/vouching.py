"""Verifying a token whose signing key may be newer than the keys that are known."""

from __future__ import annotations

from tidewire.core.clock import Clock
from tidewire.core.errors import UnknownKeyError
from tidewire.ports.token_verifier import Claims, TokenVerifier


async def verify_patiently(verifier: TokenVerifier, token: str, clock: Clock) -> Claims:
    """As `TokenVerifier.verify`; looks for new signing keys once when the token's is unknown.

    Waits only in that case, and then for seconds at most.

    Raises:
        TokenError: Refused.
    """
    try:
        return verifier.verify(token, now_s=clock.wall_s())
    except UnknownKeyError:
        await verifier.refresh_keys()
        return verifier.verify(token, now_s=clock.wall_s())
