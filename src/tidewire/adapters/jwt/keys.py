"""Keys that tokens are verified with: shared secrets and JWKs.

A key verifies the algorithms of its own kind and no other, so a public key can never be taken
for a secret, whatever a token's header says. Keys too short for their algorithm are refused.
Source: RFC 7517, RFC 7518 sections 3 and 6, RFC 8037; wire specification 7.1.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from jwt import get_algorithm_by_name
from jwt.exceptions import PyJWTError

from tidewire.core.errors import SetupError

SECRET_BYTES_MIN = 32
"""Shorter than the hash it keys, a secret can be guessed. Source: RFC 7518 section 3.2."""

RSA_BITS_MIN = 2048
KEYS_MAX = 100
"""Keys of one set that are looked at; the rest is a problem that is told."""

KINDS = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
"""Every algorithm that is taken, and the kind (`kty`) of key that it wants."""

_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_OKP_CURVES = frozenset({"Ed25519", "Ed448"})
# Only these members of a JWK are looked at: a private part is neither needed nor kept.
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")
_PEM_MARK = b"-----BEGIN"


class VerificationKey:
    """One key.

    Attributes:
        kid: Its name in its set; "" for a shared secret.
        kind: Its `kty`.
        algorithms: What it verifies.
    """

    __slots__ = ("_material", "algorithms", "kid", "kind")

    def __init__(self, kid: str, kind: str, algorithms: frozenset[str], material: Any) -> None:
        assert all(KINDS[algorithm] == kind for algorithm in algorithms)
        self.kid = kid
        self.kind = kind
        self.algorithms = algorithms
        self._material = material

    def __repr__(self) -> str:
        return f"VerificationKey({self.kid!r}, {self.kind!r})"

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `message`."""
        if algorithm not in self.algorithms:
            return False
        if self.kind == "oct":
            made = hmac.digest(self._material, message, _HASHES[algorithm])
            return hmac.compare_digest(made, signature)
        return get_algorithm_by_name(algorithm).verify(message, self._material, signature)


class KeySet(msgspec.Struct, frozen=True):
    """What a JWKS document holds.

    Attributes:
        keys: Those that can be used.
        problems: What is wrong with others, without their material. Kinds and uses that are not
            ours are no problem.
        has_weak: Whether one of the problems is a key that can be guessed.
    """

    keys: list[VerificationKey]
    problems: list[str]
    has_weak: bool


def check_secret(secret: str | bytes) -> bytes:
    """The secret's bytes.

    Raises:
        SetupError: It is shorter than `SECRET_BYTES_MIN`, or is a key of another kind.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < SECRET_BYTES_MIN:
        raise SetupError(
            f"the JWT secret has {len(key)} bytes; HS256 needs at least {SECRET_BYTES_MIN}",
            "Set a longer jwt_secret, and sign the keys with it anew (`tidewire token`).",
        )
    if _PEM_MARK in key:
        raise SetupError(
            "the JWT secret is a PEM file: whoever knows a public key could sign with it",
            "Give public keys as a JWKS, in auth.jwks_file or auth.jwks_url.",
        )
    return key


def secret_key(secret: str | bytes) -> VerificationKey:
    """The key of a shared secret.

    Raises:
        SetupError: See `check_secret`.
    """
    return VerificationKey("", "oct", frozenset(_HASHES), check_secret(secret))


def read_key_set(document: bytes) -> KeySet:
    """The keys of a JWKS.

    Raises:
        ValueError: It is no JWKS at all; says why, without showing it.
    """
    try:
        content: object = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    members: object = content.get("keys") if isinstance(content, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    if not isinstance(members, list):
        raise ValueError('it is no object with a list "keys"')
    found, problems, has_weak = list[VerificationKey](), list[str](), False
    for number, jwk in enumerate(cast("Sequence[object]", members)[:KEYS_MAX], start=1):
        try:
            key = _read_jwk(cast("dict[str, Any]", jwk) if isinstance(jwk, dict) else {})
        except _BadKeyError as error:
            problems.append(f"key {number} is not used: {error}")
            has_weak |= error.is_weak
        else:
            found += [key] if key is not None else []
    if len(cast("Sequence[object]", members)) > KEYS_MAX:
        problems.append(f"only the first {KEYS_MAX} keys are used")
    return KeySet(found, problems, has_weak)


class _BadKeyError(Exception):
    """A key that cannot be used."""

    def __init__(self, reason: str, *, is_weak: bool = False) -> None:
        super().__init__(reason)
        self.is_weak = is_weak


def _read_jwk(jwk: dict[str, Any]) -> VerificationKey | None:
    """The key; None for one that is not meant for what we do."""
    kind, kid, operations = jwk.get("kty"), jwk.get("kid"), jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    algorithms = _algorithms(kind, jwk.get("crv"))
    if "alg" in jwk:
        algorithms &= {jwk["alg"]} if isinstance(jwk["alg"], str) else frozenset[str]()
    if not isinstance(kind, str) or not algorithms:
        return None
    if not isinstance(kid, str) or not kid:
        raise _BadKeyError("it has no kid, so no token can name it")
    try:
        material = _secret_of(jwk) if kind == "oct" else _public_part(jwk, min(algorithms))
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        raise _BadKeyError("its numbers are no key") from None
    return VerificationKey(kid, kind, algorithms, material)


def _algorithms(kind: object, curve: object) -> frozenset[str]:
    """What a key of this kind and curve verifies; nothing when we do not know it."""
    named = curve if isinstance(curve, str) else ""
    if kind == "EC":
        return frozenset({_CURVES[named]}) if named in _CURVES else frozenset()
    if kind == "OKP" and named not in _OKP_CURVES:
        return frozenset()
    return frozenset(algorithm for algorithm, wanted in KINDS.items() if wanted == kind)


def _secret_of(jwk: dict[str, Any]) -> bytes:
    text = jwk["k"]
    secret = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(secret) < SECRET_BYTES_MIN:
        reason = f"a secret of {len(secret)} bytes; at least {SECRET_BYTES_MIN} are needed"
        raise _BadKeyError(reason, is_weak=True)
    return secret


def _public_part(jwk: dict[str, Any], algorithm: str) -> Any:
    public = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
    key: Any = get_algorithm_by_name(algorithm).from_jwk(public)
    if jwk["kty"] == "RSA" and key.key_size < RSA_BITS_MIN:
        reason = f"an RSA key of {key.key_size} bits; at least {RSA_BITS_MIN} are needed"
        raise _BadKeyError(reason, is_weak=True)
    return key
