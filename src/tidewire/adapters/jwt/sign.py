"""Makes tokens that the verifier takes: the project's keys, and tokens of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from tidewire.adapters.jwt.keys import check_secret

ALGORITHM = "HS256"

KEY_LIFETIME_S = 10 * 365 * 24 * 3600
"""How long an anon or service key lasts: ten years."""


def sign_token(
    secret: str | bytes,
    role: str,
    *,
    now_s: float,
    lifetime_s: float = 3600.0,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """A token for `role`.

    Args:
        secret: The shared secret.
        role: Database role it speaks for.
        now_s: Seconds since 1970 UTC; becomes `iat`.
        lifetime_s: Seconds until it ends; may be negative in tests.
        claims: More claims, such as `sub`. They win over role, iat and exp.

    Raises:
        SetupError: The secret is too short.
    """
    payload = {"role": role, "iat": int(now_s), "exp": int(now_s + lifetime_s), **(claims or {})}
    return jwt.encode(payload, check_secret(secret), algorithm=ALGORITHM)


def sign_key(
    secret: str | bytes, role: str, *, now_s: float, claims: Mapping[str, Any] | None = None
) -> str:
    """A project key, such as the anon key: lives for `KEY_LIFETIME_S`.

    The same secret, role, second and claims give the same key.
    """
    told = {"iss": "tidewire", **(claims or {})}
    return sign_token(secret, role, now_s=now_s, lifetime_s=KEY_LIFETIME_S, claims=told)
