"""What the claims of a well-signed token must say.

Order of checks: `exp` and `iat` numbers, expiry, `role`, then what the settings require.
Source: wire specification 3.5, 7.1.
"""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec

from tidewire.adapters.jwt.compact import decode_object
from tidewire.adapters.jwt.texts import (
    BAD_EXPIRY,
    CLAIMS_MISSING,
    NOT_YET_VALID,
    claim_differs,
    expired,
    invalid,
)
from tidewire.ports.token_verifier import Claims


class ClaimRules(msgspec.Struct, frozen=True):
    """Rules that a project may set.

    Attributes:
        exact: Claims and the value that each must have.
        audiences: One of them must be in `aud`; empty takes any token.
        skew_s: Seconds by which the issuer's clock may differ from ours.
        checks_not_before: Whether `nbf` counts. The original does not look at it.
        age_max_s: A token that names a user or session ends this long after its `iat` at the
            latest, whatever its `exp`. It bounds how long a revocation must be remembered.
    """

    exact: dict[str, Any] = {}
    audiences: frozenset[str] = frozenset()
    skew_s: float = 0.0
    checks_not_before: bool = False
    age_max_s: float = math.inf

    def read(self, payload: bytes, *, now_s: float) -> Claims:
        """The claims of a token whose signature is good.

        Raises:
            TokenError: They do not do.
        """
        values = decode_object(payload)
        if not all(_is_time(values[name]) for name in ("exp", "iat") if name in values):
            raise invalid(BAD_EXPIRY)
        if "exp" not in values:
            raise invalid(CLAIMS_MISSING)
        expires_at_s = self._expires_at_s(values)
        if now_s >= expires_at_s:
            raise expired(expires_at_s, now_s)
        role = values.get("role")
        if not isinstance(role, str) or not role:
            raise invalid(CLAIMS_MISSING)
        self._check_settings(values, now_s)
        return Claims(role, expires_at_s, values)

    def _expires_at_s(self, values: dict[str, Any]) -> float:
        end_s = float(round(values["exp"]))
        if "iat" in values and ("sub" in values or "session_id" in values):
            end_s = min(end_s, values["iat"] + self.age_max_s)
        return end_s + self.skew_s

    def _check_settings(self, values: dict[str, Any], now_s: float) -> None:
        for name, wanted in self.exact.items():
            if name not in values or not _is_same(values[name], wanted):
                raise invalid(claim_differs(name))
        if self.audiences and self.audiences.isdisjoint(_texts(values.get("aud"))):
            raise invalid(claim_differs("aud"))
        if self.checks_not_before and "nbf" in values:
            starts_at_s = values["nbf"]
            if not _is_time(starts_at_s) or now_s + self.skew_s < starts_at_s:
                raise invalid(NOT_YET_VALID)


def _is_same(value: Any, wanted: Any) -> bool:
    """Equal as JSON: unlike in Python, true is not 1."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _texts(value: object) -> list[str]:
    """The members of a claim that is a text or a list of texts."""
    members = cast("list[object]", value) if isinstance(value, list) else [value]
    return [member for member in members if isinstance(member, str)]


def _is_time(value: object) -> bool:
    """Whether a claim is a number that a clock could show: no bool, no infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**53) <= value <= 2**53 if isinstance(value, int) else math.isfinite(value)
