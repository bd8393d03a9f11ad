import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.signing_keys import ASYMMETRIC, SigningKey, key_set
from tidewire.adapters.jwt.keys import (
    KEYS_MAX,
    KINDS,
    SECRET_BYTES_MIN,
    check_secret,
    read_key_set,
    secret_key,
)
from tidewire.core.errors import SetupError

MESSAGE = b"head.body"


def oct_jwk(secret: bytes, kid: str = "k1", **more: Any) -> dict[str, Any]:
    text = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return {"kty": "oct", "k": text, "kid": kid, **more}


@pytest.mark.parametrize("kind", ASYMMETRIC)
def test_a_key_verifies_what_its_private_half_signed(kind: str) -> None:
    signing = SigningKey(kind)
    key = read_key_set(key_set(signing)).keys[0]
    signature = jwt.get_algorithm_by_name(signing.algorithm).sign(MESSAGE, signing.private)
    assert key.verifies(signing.algorithm, MESSAGE, signature)
    assert not key.verifies(signing.algorithm, MESSAGE + b"x", signature)
    assert not key.verifies(signing.algorithm, MESSAGE, bytes([signature[0] ^ 1]) + signature[1:])
    assert not key.verifies(signing.algorithm, MESSAGE, b"")


@pytest.mark.parametrize("kind", ["RS256", "ES256", "ES512", "Ed25519"])
def test_a_key_verifies_the_algorithms_of_its_own_kind_only(kind: str) -> None:
    signing = SigningKey(kind)
    key = read_key_set(key_set(signing)).keys[0]
    signature = jwt.get_algorithm_by_name(signing.algorithm).sign(MESSAGE, signing.private)
    own = {"RS256", "RS384", "RS512"} if kind == "RS256" else {signing.algorithm}
    assert key.algorithms == own
    for other in set(KINDS) - own:
        assert not key.verifies(other, MESSAGE, signature)


def test_the_algorithm_that_a_jwk_names_is_the_only_one_it_verifies() -> None:
    jwk = {**SigningKey("RS256").jwk, "alg": "RS512"}
    assert read_key_set(key_set(jwk)).keys[0].algorithms == {"RS512"}
    assert read_key_set(key_set({**jwk, "alg": "HS256"})).keys == []


def test_a_shared_secret_may_stand_in_a_key_set() -> None:
    secret = b"s" * SECRET_BYTES_MIN
    key = read_key_set(key_set(oct_jwk(secret))).keys[0]
    assert key.kind == "oct"
    signature = jwt.get_algorithm_by_name("HS256").sign(MESSAGE, secret)
    assert key.verifies("HS256", MESSAGE, signature)
    assert not key.verifies("HS384", MESSAGE, signature)


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "EC", "crv": "secp256k1", "kid": "a", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "a", "x": "AA"},
        {"kty": "novel", "kid": "a"},
        {**SigningKey("ES256").jwk, "use": "enc"},
        {**SigningKey("ES256").jwk, "key_ops": ["encrypt"]},
        {**SigningKey("RS256").jwk, "alg": "RSA-OAEP"},
        {"kid": "a"},
        7,
    ],
)
def test_what_is_not_meant_for_us_is_passed_over_without_a_word(jwk: Any) -> None:
    found = read_key_set(key_set(jwk, SigningKey("Ed25519", "ours")))
    assert [key.kid for key in found.keys] == ["ours"]
    assert found.problems == []


@pytest.mark.parametrize(
    ("jwk", "problem", "is_weak"),
    [
        (oct_jwk(b"short"), "a secret of 5 bytes; at least 32 are needed", True),
        (SigningKey("RS256", rsa_bits=1024).jwk, "an RSA key of 1024 bits", True),
        ({"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}, "no key", False),
        ({"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}, "no key", False),
        ({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": 7}, "no key", False),
        ({"kty": "oct", "kid": "a"}, "no key", False),
        ({**SigningKey("ES256").jwk, "kid": None}, "no kid", False),
    ],
)
def test_a_bad_key_is_told_and_the_others_are_used(
    jwk: dict[str, Any], problem: str, is_weak: bool
) -> None:
    found = read_key_set(key_set(jwk, SigningKey("Ed25519", "ours")))
    assert [key.kid for key in found.keys] == ["ours"]
    assert len(found.problems) == 1
    assert problem in found.problems[0]
    assert found.has_weak is is_weak


def test_a_private_half_is_not_kept() -> None:
    key = read_key_set(key_set(SigningKey("ES256").private_jwk)).keys[0]
    assert not hasattr(key._material, "private_numbers")


def test_neither_problems_nor_keys_show_material() -> None:
    secret = b"this-secret-must-not-be-shown-to-anyone"
    found = read_key_set(key_set(oct_jwk(secret), oct_jwk(b"hush", "k2")))
    shown = repr(found) + repr(secret_key(secret)) + "".join(found.problems)
    assert secret.decode() not in shown
    assert oct_jwk(secret)["k"] not in shown
    assert "hush" not in shown


def test_only_so_many_keys_are_read() -> None:
    jwk = SigningKey("Ed25519").jwk
    found = read_key_set(key_set(*[{**jwk, "kid": str(n)} for n in range(KEYS_MAX + 1)]))
    assert len(found.keys) == KEYS_MAX
    assert found.problems == [f"only the first {KEYS_MAX} keys are used"]


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"{}", b'{"keys":{}}', b"\xff", b"[" * 9000]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="it is no"):
        read_key_set(document)


@pytest.mark.parametrize("secret", ["", "short", b"x" * (SECRET_BYTES_MIN - 1)])
def test_a_secret_that_can_be_guessed_is_refused(secret: str | bytes) -> None:
    with pytest.raises(SetupError) as refused:
        check_secret(secret)
    assert "jwt_secret" in refused.value.advice


def test_a_public_key_is_refused_as_a_secret() -> None:
    signing = SigningKey("RS256")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = signing.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SetupError, match="PEM"):
        check_secret(pem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]) | JSON,
        "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "Ed448"]) | JSON,
        "kid": st.just("a") | JSON,
        "alg": st.sampled_from(sorted(KINDS)) | JSON,
        "use": st.just("sig") | JSON,
        "key_ops": st.just(["verify"]) | JSON,
        **{name: st.text("ABab01-_", max_size=90) | JSON for name in ("k", "n", "e", "x", "y")},
    },
)


@given(st.lists(MEMBERS | JSON, max_size=3))
def test_any_members_give_keys_or_problems_and_never_an_error(members: list[Any]) -> None:
    found = read_key_set(json.dumps({"keys": members}).encode())
    assert len(found.keys) + len(found.problems) <= len(members)
