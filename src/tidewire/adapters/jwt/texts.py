"""What is said of a token that is refused, in the words of the wire.

Source: wire specification 1.4, 3.5. The last three are ours: the original has no such case.
"""

from __future__ import annotations

from tidewire.core.errors import TokenError

MALFORMED = "The token provided is not a valid JWT"
BAD_SIGNATURE = "Failed to validate JWT signature"
NO_SIGNER = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
CLAIMS_MISSING = "Fields `role` and `exp` are required in JWT"
BAD_EXPIRY = "Token expiration time is invalid"
NOT_YET_VALID = "Token is not valid yet"

KID_CHARACTERS_SHOWN = 200


def malformed() -> TokenError:
    """It is no token."""
    return TokenError("MalformedJWT", MALFORMED)


def no_signer_for(kid: str) -> str:
    """No key of this name, for the algorithm that the token names."""
    shown = kid[:KID_CHARACTERS_SHOWN]
    return (
        f'Failed to generate JWT signer for key ID (kid) "{shown}", '
        "check your JWT secret or JWKS configuration"
    )


def invalid(message: str) -> TokenError:
    """Signed well, but its claims do not do."""
    return TokenError("InvalidJWTToken", message)


def expired(expires_at_s: float, now_s: float) -> TokenError:
    """It ended at `expires_at_s`."""
    return invalid(f"Token has expired {max(0, int(now_s - expires_at_s))} seconds ago")


def claim_differs(name: str) -> str:
    """A claim is not what the settings require."""
    return f"Field `{name}` is not as required in JWT"
