"""Opaque keys of a project: ``sb_publishable_…`` for visitors, ``sb_secret_…`` for servers.

They are no JWTs: nothing can be read out of one, and only this list says what it stands for.
Source: wire specification 1.3.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping

from tidewire.adapters.jwt.texts import malformed
from tidewire.core.errors import SetupError
from tidewire.ports.token_verifier import Claims

PREFIX = "sb_"
PUBLISHABLE_PREFIX = "sb_publishable_"
SECRET_PREFIX = "sb_secret_"  # noqa: S105 - the beginning of every such key, no secret
RANDOM_CHARACTERS_MIN = 22
"""Characters behind the prefix: 128 bits where each carries six."""

_ROLES = {PUBLISHABLE_PREFIX: "anon", SECRET_PREFIX: "service_role"}


class ApiKeys:
    """The opaque keys of one project. Keeps hashes of them only."""

    def __init__(
        self, publishable: Mapping[str, str] | None = None, secret: Mapping[str, str] | None = None
    ) -> None:
        """Args: name to key, for each kind.

        Raises:
            SetupError: One has the wrong prefix, is too short, or stands there twice.
        """
        self._claims: dict[bytes, Claims] = {}
        self._add((publishable or {}).items(), PUBLISHABLE_PREFIX)
        self._add((secret or {}).items(), SECRET_PREFIX)

    def __len__(self) -> int:
        return len(self._claims)

    def identify(self, key: str) -> Claims:
        """Whom a key speaks for.

        Takes as long for a key that is almost right as for any other.

        Raises:
            TokenError: It is none of ours; the same as for what is no JWT.
        """
        digest = _digest(key)
        found: Claims | None = None
        for known, claims in self._claims.items():
            if hmac.compare_digest(known, digest):
                found = claims
        if found is None:
            raise malformed()
        return found

    def _add(self, keys: Iterable[tuple[str, str]], prefix: str) -> None:
        for name, key in keys:
            problem = _problem(key, prefix)
            digest = _digest(key)
            if not problem and digest in self._claims:
                problem = "stands there twice"
            if problem:
                raise SetupError(
                    f"the API key {name!r} {problem}",
                    f"Make one with: echo {prefix}$(openssl rand -hex 16)",
                )
            role = _ROLES[prefix]
            self._claims[digest] = Claims(role, math.inf, {"role": role})


def _problem(key: str, prefix: str) -> str:
    if not key.startswith(prefix):
        return f"does not begin with {prefix}"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "holds characters that no key has"
    if len(key) - len(prefix) < RANDOM_CHARACTERS_MIN:
        return f"needs {RANDOM_CHARACTERS_MIN} characters or more behind {prefix}"
    return ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
