import asyncio
from collections.abc import Callable, Sequence

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_decode, base64url_encode

from tests.support.signing_keys import ASYMMETRIC, SigningKey, key_set
from tests.unit.adapters.jwt.test_verifier import NOW_S, SECRET, segment
from tidewire.adapters.jwt.key_ring import MISSING_COUNT_MAX, MISSING_S, KeyRing
from tidewire.adapters.jwt.keys import VerificationKey, read_key_set
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.core.errors import SetupError, TokenError, UnknownKeyError

GOOD = {"role": "anon", "exp": NOW_S + 60}
NO_SIGNER = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"


def no_signer_for(kid: str) -> str:
    return (
        f'Failed to generate JWT signer for key ID (kid) "{kid}", '
        "check your JWT secret or JWKS configuration"
    )


class Source:
    """Keys that a test exchanges; what is published comes into force at the next look."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys: Sequence[VerificationKey] = read_key_set(key_set(*keys)).keys
        self.published = self.keys
        self.looks = 0
        self.on_change: Callable[[], None] = lambda: None

    def publish(self, *keys: SigningKey) -> None:
        self.published = read_key_set(key_set(*keys)).keys

    async def refresh(self) -> None:
        self.looks += 1
        if self.keys is not self.published:
            self.keys = self.published
            self.on_change()

    async def run(self) -> None:
        await asyncio.Event().wait()


def refusal(verifier: JwtVerifier, token: str) -> TokenError:
    with pytest.raises(TokenError) as refused:
        verifier.verify(token, now_s=NOW_S)
    return refused.value


@pytest.mark.parametrize("kind", ASYMMETRIC)
def test_a_token_is_verified_with_the_key_that_it_names(kind: str) -> None:
    others = [SigningKey(other, f"other-{other}") for other in ASYMMETRIC]
    key = SigningKey(kind)
    verifier = JwtVerifier(SECRET, sources=[Source(*others, key)])
    assert verifier.verify(key.sign(GOOD), now_s=NOW_S).role == "anon"


@pytest.mark.parametrize("kind", ["RS256", "ES256", "Ed25519"])
def test_an_asymmetric_token_without_a_known_key_finds_no_signer(kind: str) -> None:
    key = SigningKey(kind)
    verifier = JwtVerifier(SECRET, sources=[Source(key)])
    unnamed = refusal(verifier, key.sign(GOOD, names_key=False))
    assert (unnamed.kind, str(unnamed)) == ("JwtSignerError", NO_SIGNER)
    unknown = refusal(verifier, SigningKey(kind, "k2").sign(GOOD))
    assert isinstance(unknown, UnknownKeyError)
    assert (unknown.kind, str(unknown)) == ("JwtSignerError", no_signer_for("k2"))


def test_without_any_source_no_key_is_worth_looking_for() -> None:
    error = refusal(JwtVerifier(SECRET), SigningKey("ES256").sign(GOOD))
    assert not isinstance(error, UnknownKeyError)
    assert str(error) == no_signer_for("k1")


def test_a_key_of_another_kind_or_curve_is_no_match() -> None:
    verifier = JwtVerifier(SECRET, sources=[Source(SigningKey("RS256"))])
    assert refusal(verifier, SigningKey("ES256").sign(GOOD)).kind == "JwtSignerError"
    verifier = JwtVerifier(SECRET, sources=[Source(SigningKey("ES384"))])
    assert refusal(verifier, SigningKey("ES256").sign(GOOD)).kind == "JwtSignerError"


def test_a_symmetric_token_falls_back_to_the_shared_secret() -> None:
    verifier = JwtVerifier(SECRET, sources=[Source(SigningKey("RS256"))])
    for kid in ("k1", "unknown"):
        token = jwt.encode(GOOD, SECRET, algorithm="HS256", headers={"kid": kid})
        assert verifier.verify(token, now_s=NOW_S).role == "anon"


def test_a_named_symmetric_key_goes_before_the_shared_secret() -> None:
    named = "a-secret-of-the-key-set-thirty-two-bytes"
    source = Source()
    source.keys = read_key_set(
        key_set({"kty": "oct", "kid": "k1", "k": base64url_encode(named.encode()).decode()})
    ).keys
    verifier = JwtVerifier(SECRET, sources=[source])
    by_name = jwt.encode(GOOD, named, algorithm="HS256", headers={"kid": "k1"})
    assert verifier.verify(by_name, now_s=NOW_S).role == "anon"
    by_secret = jwt.encode(GOOD, SECRET, algorithm="HS256", headers={"kid": "k1"})
    assert refusal(verifier, by_secret).kind == "JwtSignatureError"


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    key = SigningKey("RS256")
    public = key.private.public_key()
    verifier = JwtVerifier(SECRET, sources=[Source(key)])
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key.jwk["n"].encode(),
        base64url_decode(key.jwk["n"]),
    ]
    for form in forms:
        unsigned = f"{segment({'alg': 'HS256', 'kid': 'k1'})}.{segment(GOOD)}"
        made = jwt.get_algorithm_by_name("HS256").sign(unsigned.encode(), form)
        token = f"{unsigned}.{base64url_encode(made).decode()}"
        assert refusal(verifier, token).kind == "JwtSignatureError"
    with pytest.raises(SetupError, match="PEM"):
        JwtVerifier(forms[0])


def test_two_keys_of_one_name_are_both_tried() -> None:
    one, two = SigningKey("ES256"), SigningKey("ES256")
    verifier = JwtVerifier(SECRET, sources=[Source(one), Source(two)])
    for key in (one, two):
        assert verifier.verify(key.sign(GOOD), now_s=NOW_S).role == "anon"


async def test_a_key_made_a_moment_ago_is_found_by_one_look() -> None:
    old, new = SigningKey("ES256", "old"), SigningKey("ES256", "new")
    source = Source(old)
    verifier = JwtVerifier(SECRET, sources=[source])
    token = new.sign(GOOD)
    source.publish(old, new)
    assert isinstance(refusal(verifier, token), UnknownKeyError)
    await verifier.refresh_keys()
    assert verifier.verify(token, now_s=NOW_S).role == "anon"


async def test_a_token_of_a_key_that_was_taken_away_is_refused_although_it_was_remembered() -> None:
    key = SigningKey("ES256")
    source = Source(key)
    verifier = JwtVerifier(SECRET, sources=[source])
    token = key.sign(GOOD)
    verifier.verify(token, now_s=NOW_S)
    source.publish()
    await verifier.refresh_keys()
    assert refusal(verifier, token).kind == "JwtSignerError"
    assert verifier.verify(sign_token(SECRET, "anon", now_s=NOW_S), now_s=NOW_S).role == "anon"


async def test_a_key_that_was_looked_for_in_vain_is_refused_at_once_for_a_while() -> None:
    source = Source(SigningKey("ES256"))
    ring = KeyRing([SECRET], [source])

    def unknown(now_s: float, kid: str = "lost") -> bool:
        with pytest.raises(TokenError) as refused:
            ring.choose("ES256", kid, now_s=now_s)
        return isinstance(refused.value, UnknownKeyError)

    assert unknown(NOW_S)
    assert unknown(NOW_S + 1), "nobody has looked yet"
    await source.refresh()
    assert not unknown(NOW_S + 2)
    assert not unknown(NOW_S + MISSING_S - 1)
    assert unknown(NOW_S + 2, "another")
    assert unknown(NOW_S + MISSING_S + 1), "it may have come since"
    assert unknown(NOW_S - 99), "the clock was set back"


def test_only_so_many_missing_keys_are_remembered() -> None:
    ring = KeyRing([SECRET], [Source()])
    for number in range(MISSING_COUNT_MAX + 5):
        with pytest.raises(UnknownKeyError):
            ring.choose("ES256", str(number), now_s=NOW_S)
    assert len(ring._missing) == MISSING_COUNT_MAX
    assert "0" not in ring._missing


def test_a_long_kid_is_cut_in_what_is_told() -> None:
    error = refusal(JwtVerifier(SECRET), SigningKey("ES256", "k" * 5000).sign(GOOD))
    assert len(str(error)) < 400
