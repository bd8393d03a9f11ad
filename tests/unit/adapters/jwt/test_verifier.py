from __future__ import annotations

import base64
import json
import timeit
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.jwt.api_keys import ApiKeys
from tidewire.adapters.jwt.compact import TOKEN_CHARACTERS_MAX
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.core.errors import SetupError, TokenError

SECRET = "a-secret-of-at-least-thirty-two-bytes"
NOW_S = 1_800_000_000.0


def make_token(payload: object, *, key: str = SECRET, header: dict[str, Any] | None = None) -> str:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return jwt.PyJWS().encode(body, key, algorithm="HS256", headers=header)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refusal(token: str, *, now_s: float = NOW_S) -> TokenError:
    with pytest.raises(TokenError) as refused:
        JwtVerifier(SECRET).verify(token, now_s=now_s)
    return refused.value


def test_a_good_token_says_its_role_expiry_and_all_its_claims() -> None:
    token = sign_token(SECRET, "authenticated", now_s=NOW_S, claims={"sub": "u1", "app": [1]})
    claims = JwtVerifier(SECRET).verify(token, now_s=NOW_S)
    assert (claims.role, claims.expires_at_s) == ("authenticated", NOW_S + 3600)
    assert claims.values["sub"] == "u1"
    assert claims.values["app"] == [1]


def test_audience_and_not_before_are_not_checked() -> None:
    claims = {"aud": "elsewhere", "nbf": NOW_S + 900, "sub": 7, "jti": 8}
    token = sign_token(SECRET, "anon", now_s=NOW_S, claims=claims)
    assert JwtVerifier(SECRET).verify(token, now_s=NOW_S).role == "anon"


def test_white_space_and_percent_encoding_are_undone() -> None:
    token = sign_token(SECRET, "anon", now_s=NOW_S)
    verifier = JwtVerifier(SECRET)
    for written in (f"  {token[:9]}\n{token[9:]}\t", quote(token, safe="").replace(".", "%2E")):
        assert verifier.verify(written, now_s=NOW_S).role == "anon"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"role": "anon"}, "Fields `role` and `exp` are required in JWT"),
        ({"exp": NOW_S + 9}, "Fields `role` and `exp` are required in JWT"),
        ({"exp": NOW_S + 9, "role": 7}, "Fields `role` and `exp` are required in JWT"),
        ({"exp": NOW_S + 9, "role": ""}, "Fields `role` and `exp` are required in JWT"),
        ({"exp": "soon", "role": "anon"}, "Token expiration time is invalid"),
        ({"exp": True, "role": "anon"}, "Token expiration time is invalid"),
        ({"exp": None, "role": "anon"}, "Token expiration time is invalid"),
        ({"exp": 10**30, "role": "anon"}, "Token expiration time is invalid"),
        ({"exp": NOW_S + 9, "iat": "x", "role": "anon"}, "Token expiration time is invalid"),
        ({"exp": NOW_S - 7, "role": "anon"}, "Token has expired 7 seconds ago"),
        ({"exp": NOW_S, "role": "anon"}, "Token has expired 0 seconds ago"),
    ],
)
def test_claims_that_do_not_do_are_refused_in_the_words_of_the_wire(
    payload: dict[str, Any], message: str
) -> None:
    error = refusal(make_token(payload))
    assert (error.kind, str(error)) == ("InvalidJWTToken", message)


def test_a_fractional_expiry_is_rounded() -> None:
    token = make_token({"exp": NOW_S + 9.6, "role": "anon"})
    assert JwtVerifier(SECRET).verify(token, now_s=NOW_S).expires_at_s == NOW_S + 10


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-Infinity"])
def test_an_expiry_that_no_clock_reaches_is_refused(number: str) -> None:
    token = make_token(f'{{"exp":{number},"role":"anon"}}'.encode())
    assert refusal(token).kind in ("MalformedJWT", "InvalidJWTToken")


def test_another_secret_is_a_signature_error() -> None:
    token = sign_token("another-secret-of-thirty-two-bytes!!", "anon", now_s=NOW_S)
    error = refusal(token)
    assert (error.kind, str(error)) == ("JwtSignatureError", "Failed to validate JWT signature")


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "", "hs256", "PS256", "ES256K", "RS256", "ES256", "EdDSA", None, ["x"]],
)
def test_any_other_algorithm_is_refused_whatever_its_signature(algorithm: object) -> None:
    body = segment({"exp": NOW_S + 9, "role": "service_role"})
    for signature in ("", "c2ln"):
        error = refusal(f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{body}.{signature}")
        assert error.kind == "JwtSignerError"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_hash_of_a_shared_secret_is_taken(algorithm: str) -> None:
    secret = SECRET * 3  # longer than the longest hash, as PyJWT wants it for signing
    token = jwt.encode({"exp": NOW_S + 9, "role": "anon"}, secret, algorithm=algorithm)
    assert JwtVerifier(secret).verify(token, now_s=NOW_S).role == "anon"
    with pytest.raises(TokenError, match="Failed to validate JWT signature"):
        JwtVerifier(SECRET * 2).verify(token, now_s=NOW_S)


def test_a_token_of_any_of_several_secrets_is_taken_while_they_are_exchanged() -> None:
    former = "the-secret-of-last-year-thirty-two-bytes"
    token = sign_token(former, "anon", now_s=NOW_S)
    assert refusal(token).kind == "JwtSignatureError"
    verifier = JwtVerifier(SECRET, former_secrets=[former])
    assert verifier.verify(token, now_s=NOW_S).role == "anon"
    assert verifier.verify(sign_token(SECRET, "x", now_s=NOW_S), now_s=NOW_S).role == "x"


def test_an_opaque_key_stands_for_its_role_and_never_ends() -> None:
    publishable, secret = "sb_publishable_" + "a" * 22, "sb_secret_" + "b" * 22
    keys = ApiKeys({"web": publishable}, {"jobs": secret})
    verifier = JwtVerifier(SECRET, api_keys=keys)
    for _ in range(2):
        assert verifier.verify(publishable, now_s=NOW_S).role == "anon"
        assert verifier.verify(secret, now_s=NOW_S * 9).role == "service_role"
    with pytest.raises(TokenError, match="The token provided is not a valid JWT"):
        verifier.verify(secret + "b", now_s=NOW_S)


@pytest.mark.parametrize(
    "token",
    [
        *("", " ", "x", "a.b", "a.b.c", "....", "é.è.à", "\ud800", "%ff%fe", "sb_publishable_abc"),
        "x" * (TOKEN_CHARACTERS_MAX + 1),
        f"{segment([])}.{segment({})}.",
        "W" * 8000 + ".e30.e30",
    ],
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    error = refusal(token)
    assert (error.kind, str(error)) == ("MalformedJWT", "The token provided is not a valid JWT")


@pytest.mark.parametrize("payload", [b"[]", b'"x"', b"{", b"\xff", b"[" * 9000, b"null"])
def test_a_signed_body_that_is_no_object_is_malformed(payload: bytes) -> None:
    assert refusal(make_token(payload)).kind == "MalformedJWT"


def test_a_critical_header_we_do_not_know_is_refused() -> None:
    token = make_token({"exp": NOW_S + 9, "role": "anon"}, header={"crit": ["x"], "x": 1})
    assert refusal(token).kind == "MalformedJWT"


def test_a_remembered_token_still_expires() -> None:
    verifier = JwtVerifier(SECRET)
    token = sign_token(SECRET, "anon", now_s=NOW_S, lifetime_s=10)
    assert verifier.verify(token, now_s=NOW_S) is verifier.verify(token, now_s=NOW_S + 9)
    for _ in range(2):
        with pytest.raises(TokenError, match="Token has expired 3 seconds ago"):
            verifier.verify(token, now_s=NOW_S + 13)


def test_only_so_many_tokens_are_remembered_and_the_least_used_goes_first() -> None:
    verifier = JwtVerifier(SECRET, cache_count_max=2)
    tokens = [sign_token(SECRET, "anon", now_s=NOW_S, claims={"sub": str(n)}) for n in range(3)]
    first = verifier.verify(tokens[0], now_s=NOW_S)
    second = verifier.verify(tokens[1], now_s=NOW_S)
    verifier.verify(tokens[0], now_s=NOW_S)
    verifier.verify(tokens[2], now_s=NOW_S)
    assert verifier.verify(tokens[0], now_s=NOW_S) is first
    assert verifier.verify(tokens[1], now_s=NOW_S) is not second


def test_a_refused_token_is_not_remembered() -> None:
    verifier = JwtVerifier(SECRET)
    with pytest.raises(TokenError):
        verifier.verify("x.y.z", now_s=NOW_S)
    assert not verifier._verified


def test_a_short_secret_is_refused_with_advice() -> None:
    with pytest.raises(SetupError) as refused:
        JwtVerifier("short")
    assert "jwt_secret" in refused.value.advice


def test_a_repeated_call_does_no_cryptography() -> None:
    verifier = JwtVerifier(SECRET)
    token = sign_token(SECRET, "anon", now_s=NOW_S)
    verifier.verify(token, now_s=NOW_S)
    rounds = timeit.repeat(lambda: verifier.verify(token, now_s=NOW_S), number=2000, repeat=5)
    assert min(rounds) / 2000 < 5e-6  # 0.3 µs on a quiet machine; a signature check is 20 and more


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_.%-]{0,200}", fullmatch=True))
def test_random_text_gives_nothing_but_token_errors(token: str) -> None:
    with pytest.raises(TokenError):
        JwtVerifier(SECRET).verify(token, now_s=NOW_S)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
CLAIM_NAMES = st.sampled_from(["role", "exp", "iat", "sub"]) | st.text(max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64"]), JSON_VALUES, max_size=4
)


@given(st.dictionaries(CLAIM_NAMES, JSON_VALUES), HEADERS)
def test_any_signed_claims_verify_or_give_a_token_error(
    payload: dict[str, Any], header: dict[str, Any]
) -> None:
    unsigned = f"{segment({'alg': 'HS256', **header})}.{segment(payload)}"
    signature = jwt.get_algorithm_by_name("HS256").sign(unsigned.encode(), SECRET.encode())
    token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    try:
        claims = JwtVerifier(SECRET).verify(token, now_s=NOW_S)
    except TokenError:
        return
    assert claims.expires_at_s > NOW_S
    assert claims.role == payload["role"]
