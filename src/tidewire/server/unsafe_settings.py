"""What of the settings is unsafe. What cannot work at all is refused when they are read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import msgspec

from tidewire.adapters.postgres.finding import Finding
from tidewire.core.host_name import is_loopback
from tidewire.server.settings import Settings

DISTINCT_CHARACTERS_MIN = 10
_EXAMPLE_WORDS = ("super-secret", "your-secret", "your_secret", "changeme", "change-me", "example",
                  "at-least-32", "at-least-thirty-two", "placeholder", "jwt-secret")  # fmt: skip
_MINE = "Make one with: openssl rand -hex 32. Keys and tokens signed so far are void then."


def unsafe_settings(settings: Settings) -> list[Finding]:
    """Look at the server's settings, and at those of each tenant."""
    findings = _of_the_port(settings)
    if not settings.tenants:
        return [*findings, *_of_a_tenant(settings, "")]
    for name, tenant in settings.tenants.items():
        findings += _of_a_tenant(tenant, f"tenants.{name}.")
    return findings


def _of_the_port(settings: Settings) -> list[Finding]:
    server = settings.server
    findings: list[Finding] = []
    is_public = not is_loopback(server.host.lower())
    if is_public and not (server.tls_certificate or server.trusted_proxies):
        findings.append(
            Finding(
                "plain_http",
                "warning",
                f"the server listens on {server.host or 'every address'} without TLS: keys and "
                "tokens cross the network in plain text",
                "Put a proxy that speaks TLS in front and name it in server.trusted_proxies, or "
                "set server.tls_certificate and server.tls_key.",
            )
        )
    if is_public and not server.metrics_jwt_secret:
        findings.append(
            Finding(
                "open_metrics",
                "warning",
                "everybody who reaches the server may read /metrics",
                "Set server.metrics_jwt_secret, or keep the path from the outside at the proxy.",
            )
        )
    for name in ("admin_jwt_secret", "metrics_jwt_secret"):
        findings += _weak(getattr(server, name), f"server.{name}")
    return findings


def _of_a_tenant(settings: Settings, prefix: str) -> list[Finding]:
    auth = settings.auth
    findings = _weak(auth.jwt_secret, f"{prefix}auth.jwt_secret")
    for number, secret in enumerate(auth.jwt_secrets, 1):
        findings += _weak(secret, f"{prefix}auth.jwt_secrets (number {number})")
    mighty = [
        name
        for name, key in auth.publishable_keys.items()
        if _is_mighty(key, auth.secret_keys.values())
    ]
    if mighty:
        findings.append(
            Finding(
                "secret_key_published",
                "error",
                f"{prefix}auth.publishable_keys holds a key that sees everything: "
                f"{', '.join(mighty)}",
                "Take it out, give out a publishable key instead, and change the secret one: "
                "pages have had it.",
            )
        )
    return findings


def _weak(secret: str, path: str) -> list[Finding]:
    """What is wrong with a secret; tells nothing of it but its length."""
    lowered = secret.lower()
    if not secret:
        return []
    if any(word in lowered for word in _EXAMPLE_WORDS):
        told = "comes from an example, which anybody can read"
    elif len(set(secret)) < DISTINCT_CHARACTERS_MIN:
        told = "repeats so few characters that it can be guessed"
    elif len(secret) < 32:
        told = f"has {len(secret)} characters, and 32 are the least that cannot be guessed"
    else:
        return []
    return [Finding("weak_secret", "error", f"{path} {told}", _MINE)]


def _is_mighty(key: str, secret_keys: Iterable[str]) -> bool:
    return key in secret_keys or key.startswith("sb_secret_") or _role_in(key) == "service_role"


def _role_in(key: str) -> str:
    """The role that a JWT names, unverified; "" for anything else."""
    parts = key.split(".")
    if len(parts) != 3:
        return ""
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return ""
    return str(claims.get("role", ""))
