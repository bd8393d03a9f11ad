from __future__ import annotations

import pytest

from tidewire.adapters.jwt.sign import KEY_LIFETIME_S, sign_key, sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.core.errors import SetupError

SECRET = "a-secret-of-at-least-thirty-two-bytes"
NOW_S = 1_800_000_000.0


def test_a_key_lasts_ten_years_and_is_the_same_for_the_same_second() -> None:
    key = sign_key(SECRET, "anon", now_s=NOW_S)
    assert key == sign_key(SECRET, "anon", now_s=NOW_S + 0.5)
    claims = JwtVerifier(SECRET).verify(key, now_s=NOW_S)
    assert (claims.role, claims.expires_at_s) == ("anon", NOW_S + KEY_LIFETIME_S)


def test_given_claims_win() -> None:
    token = sign_token(SECRET, "anon", now_s=NOW_S, claims={"role": "x", "exp": NOW_S + 5})
    claims = JwtVerifier(SECRET).verify(token, now_s=NOW_S)
    assert (claims.role, claims.expires_at_s) == ("x", NOW_S + 5)


def test_nothing_is_signed_with_a_short_secret() -> None:
    with pytest.raises(SetupError):
        sign_token("short", "anon", now_s=NOW_S)
