from __future__ import annotations

from typing import Any

import pytest

from tidewire.adapters.jwt.sign import sign_token
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.settings import ServerSettings, Settings
from tidewire.server.unsafe_settings import unsafe_settings

GOOD = "0b5c7f1de94a8263b7f0e1d2c3a49586"
SERVICE_JWT = sign_token(GOOD, "service_role", now_s=0)
ANON_JWT = sign_token(GOOD, "anon", now_s=0)


def codes(**sections: Any) -> list[str]:
    findings = unsafe_settings(Settings(**sections))
    assert all(finding.problem and finding.advice for finding in findings)
    return [finding.code for finding in findings]


def test_the_defaults_are_safe() -> None:
    assert codes() == []
    assert codes(auth=AuthSettings(jwt_secret=GOOD)) == []


@pytest.mark.parametrize(
    "secret",
    [
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "a" * 40,
        "abcabcabc" * 5,
        "CHANGEME" * 8,
    ],
)
def test_a_secret_that_can_be_guessed_is_an_error_and_is_not_shown(secret: str) -> None:
    for auth in (AuthSettings(jwt_secret=secret), AuthSettings(jwt_secrets=[secret])):
        [finding] = unsafe_settings(Settings(auth=auth))
        assert (finding.code, finding.severity) == ("weak_secret", "error")
        assert secret not in finding.problem + finding.advice


@pytest.mark.parametrize("key", ["sb_secret_abc", SERVICE_JWT, "shared"])
def test_a_key_that_sees_everything_is_no_public_key(key: str) -> None:
    auth = AuthSettings(publishable_keys={"web": key}, secret_keys={"own": "shared"})
    [finding] = unsafe_settings(Settings(auth=auth))
    assert (finding.code, finding.severity) == ("secret_key_published", "error")
    assert "web" in finding.problem
    assert key not in finding.problem.replace("auth.publishable_keys", "")


@pytest.mark.parametrize("key", ["sb_publishable_abc", ANON_JWT, "a.b.c", "x"])
def test_other_keys_may_be_public(key: str) -> None:
    assert codes(auth=AuthSettings(publishable_keys={"web": key})) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "rt.example.org"])
def test_a_port_open_to_others_wants_tls_or_a_proxy(host: str) -> None:
    assert codes(server=ServerSettings(host=host)) == ["plain_http", "open_metrics"]
    safe: Any = {"host": host, "metrics_jwt_secret": GOOD}
    assert codes(server=ServerSettings(**safe, trusted_proxies=["10.0.0.1"])) == []
    assert codes(server=ServerSettings(**safe, tls_certificate="c", tls_key="k")) == []


def test_each_tenant_is_looked_at() -> None:
    weak = Settings(auth=AuthSettings(jwt_secret="a" * 40))
    [finding] = unsafe_settings(Settings(tenants={"acme": weak, "blue": Settings()}))
    assert finding.problem.startswith("tenants.acme.auth.jwt_secret")


def test_the_secrets_of_operators_are_looked_at() -> None:
    assert codes(server=ServerSettings(admin_jwt_secret="short1234567")) == ["weak_secret"]
