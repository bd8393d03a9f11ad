"""Makes a project's verifier from its settings: secrets, signing keys, opaque keys, rules."""

from __future__ import annotations

import random
import stat
from pathlib import Path
from urllib.parse import urlsplit

from tidewire.adapters.jwt.api_keys import ApiKeys
from tidewire.adapters.jwt.claim_rules import ClaimRules
from tidewire.adapters.jwt.key_file import KeyFile
from tidewire.adapters.jwt.key_ring import KeySource
from tidewire.adapters.jwt.key_url import KeyUrl
from tidewire.adapters.jwt.keys import check_secret
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.core.clock import Clock
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.keys import Keys

OWN_KEY = "default"
"""Name of the opaque keys of the data folder."""

DAY_S = 86_400.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_auth(auth: AuthSettings) -> None:
    """Find out before anything is started that the keys of the settings are no good.

    Raises:
        SetupError: A key or secret is weak, or a file is no good.
    """
    for secret in (auth.jwt_secret, *auth.jwt_secrets):
        if secret:
            check_secret(secret)
    if auth.jwks_file:
        KeyFile(Path(auth.jwks_file).expanduser())
    ApiKeys(auth.publishable_keys, auth.secret_keys)


def unsafe_auth(auth: AuthSettings) -> list[tuple[str, str]]:
    """What of the settings is allowed and better avoided: problem and advice of each."""
    found: list[tuple[str, str]] = []
    address = urlsplit(auth.jwks_url)
    if address.scheme == "http" and address.hostname not in _LOOPBACK:
        found.append(
            (
                "auth.jwks_url is not encrypted: whoever stands on the way can sign tokens",
                "Use https.",
            )
        )
    if auth.jwks_file and Path(auth.jwks_file).expanduser().stat().st_mode & _OTHERS_WRITE:
        found.append(
            (
                "auth.jwks_file may be written by others, who can then sign tokens",
                f"Run: chmod go-w {auth.jwks_file}",
            )
        )
    return found


def make_verifier(
    auth: AuthSettings, *, secret: str, keys: Keys, clock: Clock, rng: random.Random
) -> JwtVerifier:
    """The verifier that the settings describe. Call within the running loop.

    Args:
        auth: The settings.
        secret: The shared secret, wherever it came from.
        keys: Whose opaque ones are taken where the settings name none.
        clock: For the age of fetched keys.
        rng: For the jitter of fetches.

    Raises:
        SetupError: A key or secret is weak, or a file is no good.
    """
    sources: list[KeySource] = []
    if auth.jwks_file:
        sources.append(KeyFile(Path(auth.jwks_file).expanduser()))
    if auth.jwks_url:
        fetched = KeyUrl(
            auth.jwks_url,
            clock=clock,
            rng=rng,
            refresh_s=auth.jwks_refresh_s,
            stale_s=auth.jwks_stale_s,
        )
        sources.append(fetched)
    return JwtVerifier(
        secret,
        former_secrets=auth.jwt_secrets,
        sources=sources,
        rules=claim_rules(auth),
        api_keys=ApiKeys(
            auth.publishable_keys or ({OWN_KEY: keys.publishable} if keys.publishable else {}),
            auth.secret_keys or ({OWN_KEY: keys.secret} if keys.secret else {}),
        ),
    )


def claim_rules(auth: AuthSettings) -> ClaimRules:
    """What the settings demand of claims."""
    return ClaimRules(
        exact=auth.required_claims,
        audiences=frozenset(auth.audiences),
        skew_s=auth.clock_skew_s,
        checks_not_before=auth.check_not_before,
        age_max_s=auth.token_age_days_max * DAY_S,
    )
