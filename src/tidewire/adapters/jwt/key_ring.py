"""Which key a token is verified with. Source: wire specification 7.1."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from tidewire.adapters.jwt.keys import KINDS, VerificationKey, secret_key
from tidewire.adapters.jwt.texts import NO_SIGNER, no_signer_for
from tidewire.core.errors import TokenError, UnknownKeyError

MISSING_S = 30.0
"""Seconds for which a kid that was not found, though it was looked for, is refused at once."""

MISSING_COUNT_MAX = 1024
"""Kids remembered as missing; of more, the oldest are looked for again."""


class KeySource(Protocol):
    """Where signing keys come from, besides the settings.

    Attributes:
        keys: Those that are in force now.
        looks: How often it was looked, with or without success.
        on_change: Called when `keys` is another list. Set by the ring.
    """

    keys: Sequence[VerificationKey]
    looks: int
    on_change: Callable[[], None]

    async def refresh(self) -> None:
        """Look now, or take part in a look that is under way; ends within seconds."""
        ...

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        ...


class _Missing(msgspec.Struct, frozen=True, gc=False):
    """A kid that nobody knew."""

    since_s: float
    looks: int


class KeyRing:
    """Shared secrets, and the keys of all sources by name and kind.

    Attributes:
        sources: Where keys come from.
    """

    def __init__(
        self,
        secrets: Iterable[str | bytes],
        sources: Sequence[KeySource] = (),
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Put it together.

        Args:
            secrets: Shared secrets; each is tried.
            sources: Of named keys.
            on_change: Called when a key came or went.

        Raises:
            SetupError: A secret is too weak.
        """
        self.sources = sources
        self._secrets = [secret_key(secret) for secret in secrets]
        self._named: dict[tuple[str, str], list[VerificationKey]] = {}
        self._missing: OrderedDict[str, _Missing] = OrderedDict()
        self._on_change = on_change
        for source in sources:
            source.on_change = self._rebuild
        self._rebuild()

    def choose(self, algorithm: str, kid: str | None, *, now_s: float) -> list[VerificationKey]:
        """Keys to try for a token with this header; at least one.

        Raises:
            UnknownKeyError: No key of this name; a source may have it by now.
            TokenError: There is no key for it.
        """
        kind = KINDS.get(algorithm)
        if kind is None:
            raise TokenError("JwtSignerError", NO_SIGNER)
        if kid is not None:
            named = self._named.get((kid, kind), ())
            fit = [key for key in named if algorithm in key.algorithms]
            if fit:
                return fit
        if kind == "oct" and self._secrets:
            return self._secrets
        if kid is None:
            raise TokenError("JwtSignerError", NO_SIGNER)
        if self.sources and not self._is_known_to_be_missing(kid, now_s):
            raise UnknownKeyError(no_signer_for(kid))
        raise TokenError("JwtSignerError", no_signer_for(kid))

    def _is_known_to_be_missing(self, kid: str, now_s: float) -> bool:
        """Whether it was looked for lately; else note that it is about to be."""
        looks = sum(source.looks for source in self.sources)
        seen = self._missing.get(kid)
        if seen is not None and 0 <= now_s - seen.since_s < MISSING_S:
            return looks > seen.looks
        self._missing[kid] = _Missing(now_s, looks)
        self._missing.move_to_end(kid)
        if len(self._missing) > MISSING_COUNT_MAX:
            self._missing.popitem(last=False)
        return False

    def _rebuild(self) -> None:
        named: dict[tuple[str, str], list[VerificationKey]] = {}
        for source in self.sources:
            for key in source.keys:
                named.setdefault((key.kid, key.kind), []).append(key)
        self._named = named
        self._missing.clear()
        self._on_change()
