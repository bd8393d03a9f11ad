"""Verifies tokens: HS*, RS*, ES* and EdDSA, by shared secrets and JWKS; and opaque keys.

Order of checks: form, key, signature, claims. Source: wire specification 1.3, 1.4, 3.5, 7.1.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from tidewire.adapters.jwt import api_keys as opaque
from tidewire.adapters.jwt.api_keys import ApiKeys
from tidewire.adapters.jwt.claim_rules import ClaimRules
from tidewire.adapters.jwt.compact import clean_token, take_apart
from tidewire.adapters.jwt.key_ring import KeyRing, KeySource
from tidewire.adapters.jwt.texts import BAD_SIGNATURE, expired
from tidewire.core.errors import TokenError
from tidewire.ports.token_verifier import Claims

CACHE_COUNT_MAX = 4096


class JwtVerifier:
    """The port `TokenVerifier`.

    Tokens that verified once are kept (least recently used go first) until a signing key comes
    or goes, so a repeated call costs a look-up and the check of the expiry.
    """

    def __init__(
        self,
        secret: str | bytes,
        *,
        former_secrets: Sequence[str | bytes] = (),
        sources: Sequence[KeySource] = (),
        rules: ClaimRules | None = None,
        api_keys: ApiKeys | None = None,
        cache_count_max: int = CACHE_COUNT_MAX,
    ) -> None:
        """Make it.

        Args:
            secret: The shared secret.
            former_secrets: More of them, while secrets are exchanged.
            sources: Of named keys; `run` keeps them up to date.
            rules: What claims must say.
            api_keys: Opaque keys.
            cache_count_max: How many verified tokens are remembered.

        Raises:
            SetupError: A secret is too weak.
        """
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self._cache_count_max = cache_count_max
        self._rules = rules or ClaimRules()
        self._api_keys = api_keys or ApiKeys()
        self._ring = KeyRing([secret, *former_secrets], sources, on_change=self._verified.clear)

    def verify(self, token: str, *, now_s: float) -> Claims:
        """See `TokenVerifier.verify`. Percent-encoding and white space in `token` are undone."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify_anew(token, now_s)
        else:
            self._verified.move_to_end(token)
        if now_s >= claims.expires_at_s:
            self._verified.pop(token, None)
            raise expired(claims.expires_at_s, now_s)
        return claims

    async def refresh_keys(self) -> None:
        """See `TokenVerifier.refresh_keys`. Shared secrets never change."""
        await asyncio.gather(*[source.refresh() for source in self._ring.sources])

    async def run(self) -> None:
        """Keep the keys of all sources up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._ring.sources:
                group.create_task(source.run())
            await asyncio.Event().wait()

    def _verify_anew(self, token: str, now_s: float) -> Claims:
        compact = clean_token(token)
        if compact.startswith(opaque.PREFIX):
            claims = self._api_keys.identify(compact)
        else:
            claims = self._verify_signed(compact, now_s)
        self._verified[token] = claims
        if len(self._verified) > self._cache_count_max:
            self._verified.popitem(last=False)
        return claims

    def _verify_signed(self, compact: str, now_s: float) -> Claims:
        signed = take_apart(compact)
        keys = self._ring.choose(signed.algorithm, signed.kid, now_s=now_s)
        if not any(
            key.verifies(signed.algorithm, signed.message, signed.signature) for key in keys
        ):
            raise TokenError("JwtSignatureError", BAD_SIGNATURE)
        return self._rules.read(signed.payload, now_s=now_s)
