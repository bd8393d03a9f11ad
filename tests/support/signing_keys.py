"""Signing keys of every kind, their JWKs, and tokens signed with them."""

from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
ASYMMETRIC = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "Ed25519", "Ed448")
_RSA_KEYS: dict[int, rsa.RSAPrivateKey] = {}


class SigningKey:
    """A private key and its name.

    Attributes:
        kid: Its name.
        algorithm: As a token's header has it.
        private: The key.
    """

    def __init__(self, kind: str, kid: str = "k1", *, rsa_bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = "EdDSA" if kind.startswith("Ed") else kind
        self.private: Any
        if kind == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif kind == "Ed448":
            self.private = ed448.Ed448PrivateKey.generate()
        elif kind in CURVES:
            self.private = ec.generate_private_key(CURVES[kind])
        else:
            # Finding an RSA key takes a tenth of a second and more: one of a size is enough.
            if rsa_bits not in _RSA_KEYS:
                _RSA_KEYS[rsa_bits] = rsa.generate_private_key(65537, rsa_bits)
            self.private = _RSA_KEYS[rsa_bits]

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half."""
        known = jwt.get_algorithm_by_name(self.algorithm)
        return {**known.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid}

    @property
    def private_jwk(self) -> dict[str, Any]:
        """Both halves, as nobody should publish them."""
        known = jwt.get_algorithm_by_name(self.algorithm)
        return {**known.to_jwk(self.private, as_dict=True), "kid": self.kid}

    def sign(self, claims: dict[str, Any], *, names_key: bool = True, **header: Any) -> str:
        """A token."""
        headers = {**({"kid": self.kid} if names_key else {}), **header}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=headers)


def key_set(*jwks: SigningKey | dict[str, Any]) -> bytes:
    """A JWKS document."""
    members = [jwk.jwk if isinstance(jwk, SigningKey) else jwk for jwk in jwks]
    return json.dumps({"keys": members}).encode()
