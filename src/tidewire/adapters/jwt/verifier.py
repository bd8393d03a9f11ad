"""Verifies HS256 tokens against one shared secret.

Order of checks: form, algorithm, signature, `exp` a number, expiry, required claims. `aud` and
`nbf` are not checked. Source: wire specification 1.3, 1.4, 3.5, 7.1.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote

import jwt
import msgspec
from jwt.api_jws import PyJWS

from tidewire.core.errors import SetupError, TokenError
from tidewire.ports.token_verifier import Claims

ALGORITHM = "HS256"
SECRET_BYTES_MIN = 32
"""Shorter than the hash it keys, a secret can be guessed. Source: RFC 7518 section 3.2."""

TOKEN_CHARACTERS_MAX = 16_384
"""Longer than any header line that carries one; bounds the cost of a refusal."""

CACHE_COUNT_MAX = 4096

_MALFORMED = "The token provided is not a valid JWT"
_BAD_SIGNATURE = "Failed to validate JWT signature"
_NO_SIGNER = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
_CLAIMS_MISSING = "Fields `role` and `exp` are required in JWT"
_BAD_EXPIRY = "Token expiration time is invalid"


def check_secret(secret: str | bytes) -> bytes:
    """The secret's bytes.

    Raises:
        SetupError: It is shorter than `SECRET_BYTES_MIN`.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < SECRET_BYTES_MIN:
        raise SetupError(
            f"the JWT secret has {len(key)} bytes; HS256 needs at least {SECRET_BYTES_MIN}",
            "Set a longer jwt_secret, and sign the keys with it anew (`tidewire token`).",
        )
    return key


class JwtVerifier:
    """The port `TokenVerifier` on PyJWT.

    Tokens that verified once are kept (least recently used go first), so a repeated call costs
    a look-up and the check of the expiry.
    """

    def __init__(self, secret: str | bytes, *, cache_count_max: int = CACHE_COUNT_MAX) -> None:
        """Args: the shared secret, and how many verified tokens are remembered.

        Raises:
            SetupError: The secret is too short.
        """
        self._key = check_secret(secret)
        self._signatures = PyJWS(algorithms=[ALGORITHM])
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self._cache_count_max = cache_count_max

    def verify(self, token: str, *, now_s: float) -> Claims:
        """See `TokenVerifier.verify`. Percent-encoding and white space in `token` are undone."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify_anew(token, now_s)
        else:
            self._verified.move_to_end(token)
        if now_s >= claims.expires_at_s:
            self._verified.pop(token, None)
            raise _expired(claims.expires_at_s, now_s)
        return claims

    async def refresh_keys(self) -> None:
        """See `TokenVerifier.refresh_keys`. A shared secret never changes."""

    def _verify_anew(self, token: str, now_s: float) -> Claims:
        claims = _read_claims(self._verified_payload(token), now_s)
        self._verified[token] = claims
        if len(self._verified) > self._cache_count_max:
            self._verified.popitem(last=False)
        return claims

    def _verified_payload(self, token: str) -> bytes:
        compact = clean_token(token)
        if not compact.isascii():
            raise TokenError("MalformedJWT", _MALFORMED)
        try:
            return self._signatures.decode(compact, self._key, algorithms=[ALGORITHM])
        except jwt.InvalidSignatureError:
            raise TokenError("JwtSignatureError", _BAD_SIGNATURE) from None
        except jwt.InvalidAlgorithmError:
            raise TokenError("JwtSignerError", _NO_SIGNER) from None
        except (jwt.PyJWTError, RecursionError):
            raise TokenError("MalformedJWT", _MALFORMED) from None


def clean_token(token: str) -> str:
    """Undo percent-encoding and drop white space, as the original does before it parses.

    Raises:
        TokenError: Longer than any token may be.
    """
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise TokenError("MalformedJWT", _MALFORMED)
    return "".join(unquote(token).split())


def _read_claims(payload: bytes, now_s: float) -> Claims:
    values = _decode_object(payload)
    if not all(_is_time(values[name]) for name in ("exp", "iat") if name in values):
        raise TokenError("InvalidJWTToken", _BAD_EXPIRY)
    if "exp" not in values:
        raise TokenError("InvalidJWTToken", _CLAIMS_MISSING)
    expires_at_s = float(round(values["exp"]))
    if now_s >= expires_at_s:
        raise _expired(expires_at_s, now_s)
    role = values.get("role")
    if not isinstance(role, str) or not role:
        raise TokenError("InvalidJWTToken", _CLAIMS_MISSING)
    return Claims(role, expires_at_s, values)


def _decode_object(payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenError("MalformedJWT", _MALFORMED) from None


def _is_time(value: object) -> bool:
    """Whether a claim is a number that a clock could show: no bool, no infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**53) <= value <= 2**53 if isinstance(value, int) else math.isfinite(value)


def _expired(expires_at_s: float, now_s: float) -> TokenError:
    ago_s = max(0, int(now_s - expires_at_s))
    return TokenError("InvalidJWTToken", f"Token has expired {ago_s} seconds ago")
