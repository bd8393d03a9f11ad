import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.signing_keys import SigningKey, key_set
from tidewire.adapters.jwt.sign import sign_token
from tidewire.core.errors import SetupError, TokenError
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.doctor import _examine_auth
from tidewire.server.keys import Keys, claims_of_keys, make_keys, with_opaque_keys
from tidewire.server.verifying import check_auth, make_verifier, unsafe_auth

SECRET = "a-secret-of-at-least-thirty-two-bytes"
FORMER = "a-former-secret-of-thirty-two-bytes-too"
RANDOM = "r" * 40
NOW_S = 1_800_000_000.0


def verifier_of(auth: AuthSettings, keys: Keys | None = None):
    made = keys or with_opaque_keys(make_keys(SECRET, made_at_s=NOW_S), lambda name: RANDOM)
    return make_verifier(auth, secret=SECRET, keys=made, clock=ManualClock(), rng=random.Random(1))


def token(secret: str = SECRET, **claims: Any) -> str:
    return sign_token(secret, "authenticated", now_s=NOW_S, claims=claims)


async def test_the_data_folders_opaque_keys_are_taken_until_the_settings_name_others() -> None:
    own, named = f"sb_publishable_{RANDOM}", "sb_publishable_" + "n" * 22
    assert verifier_of(AuthSettings()).verify(own, now_s=NOW_S).role == "anon"
    verifier = verifier_of(AuthSettings(publishable_keys={"web": named}))
    assert verifier.verify(named, now_s=NOW_S).role == "anon"
    with pytest.raises(TokenError):
        verifier.verify(own, now_s=NOW_S)
    secret = verifier.verify(f"sb_secret_{RANDOM}", now_s=NOW_S)
    assert secret.role == "service_role"


async def test_former_secrets_skew_and_demands_reach_the_verifier(tmp_path: Path) -> None:
    key = SigningKey("ES256")
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(key))
    auth = AuthSettings(
        jwt_secrets=[FORMER],
        jwks_file=str(file),
        required_claims={"iss": "us"},
        audiences=["a"],
        clock_skew_s=10,
        check_not_before=True,
        token_age_days_max=1,
    )
    verifier = verifier_of(auth)
    good = {"iss": "us", "aud": "a"}
    assert verifier.verify(token(FORMER, **good), now_s=NOW_S + 3609).role == "authenticated"
    signed = key.sign({"role": "anon", "exp": NOW_S + 9, **good})
    assert verifier.verify(signed, now_s=NOW_S).role == "anon"
    bad: Any
    for bad in ({}, {**good, "iss": "x"}, {**good, "aud": "b"}, {**good, "nbf": NOW_S + 99}):
        with pytest.raises(TokenError):
            verifier.verify(token(**bad), now_s=NOW_S)
    long = token(**good, sub="u", exp=NOW_S + 9e6)
    assert verifier.verify(long, now_s=NOW_S).expires_at_s == NOW_S + 86400 + 10


async def test_the_servers_own_keys_meet_its_demands() -> None:
    auth = AuthSettings(required_claims={"iss": "us", "role": "x", "exp": 1}, audiences=["a", "b"])
    assert claims_of_keys(auth) == {"iss": "us", "aud": "a"}
    auth = AuthSettings(required_claims={"iss": "us"}, audiences=["a", "b"])
    keys = make_keys(SECRET, made_at_s=NOW_S, claims=claims_of_keys(auth))
    verifier = verifier_of(auth, keys)
    assert verifier.verify(keys.anon, now_s=NOW_S).role == "anon"
    assert verifier.verify(keys.service_role, now_s=NOW_S).role == "service_role"


async def test_an_address_of_keys_makes_a_source_that_runs() -> None:
    verifier = verifier_of(AuthSettings(jwks_url="https://auth.example/jwks.json"))
    assert len(verifier._ring.sources) == 1


@pytest.mark.parametrize(
    ("auth", "problem"),
    [
        (AuthSettings(jwt_secret="-----BEGIN PUBLIC KEY-----" + "x" * 40), "PEM"),
        (AuthSettings(jwt_secrets=["short"]), "5 bytes"),
        (AuthSettings(jwks_file="/nowhere/jwks.json"), "cannot be read"),
        (AuthSettings(secret_keys={"jobs": "sb_secret_short"}), "22 characters"),
        (AuthSettings(publishable_keys={"web": f"sb_secret_{RANDOM}"}), "does not begin"),
    ],
)
def test_keys_that_are_no_good_are_found_before_anything_starts(
    auth: AuthSettings, problem: str
) -> None:
    with pytest.raises(SetupError, match=problem):
        check_auth(auth)
    (finding,) = _examine_auth(auth)
    assert finding.severity == "error"
    assert problem in finding.problem


def test_what_is_better_avoided_is_told(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(SigningKey("ES256")))
    file.chmod(0o644)
    assert unsafe_auth(AuthSettings(jwks_file=str(file))) == []
    for url in ("", "https://auth.example/k", "http://127.0.0.1:9/k", "http://localhost/k"):
        assert unsafe_auth(AuthSettings(jwks_url=url)) == []
    file.chmod(0o666)
    auth = AuthSettings(jwks_file=str(file), jwks_url="http://auth.example/k")
    told = [finding.problem for finding in _examine_auth(auth)]
    assert ["jwks_url" in told[0], "jwks_file" in told[1]] == [True, True]
