from __future__ import annotations

import pytest

from tidewire.core.origin import OriginPolicy

APP = "https://app.example.org"


def test_without_a_list_every_origin_is_allowed() -> None:
    assert OriginPolicy().is_open
    assert OriginPolicy().allows("https://evil.example", host="x")


@pytest.mark.parametrize("origin", [APP, "https://APP.example.org", f"{APP}:443", ""])
def test_a_listed_origin_and_none_at_all_are_allowed(origin: str) -> None:
    assert OriginPolicy([APP]).allows(origin, host="api.example.org")


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.org", f"{APP}:8443", f"{APP}.evil.example", "https://evil.example",
        "null",         "https://app.example.orgx", f"{APP}/", f"{APP}@evil.example", "https://xapp.example.org",
    ],
)  # fmt: skip
def test_every_other_origin_is_refused(origin: str) -> None:
    assert not OriginPolicy([APP]).allows(origin, host="api.example.org")


def test_a_star_stands_for_names_below_and_not_for_the_name_itself() -> None:
    policy = OriginPolicy(["https://*.example.org:8443"])
    assert policy.allows("https://a.example.org:8443", host="x")
    assert policy.allows("https://a.b.example.org:8443", host="x")
    assert not policy.allows("https://example.org:8443", host="x")
    assert not policy.allows("https://a.example.org", host="x")
    assert not policy.allows("https://evilexample.org:8443", host="x")


def test_the_servers_own_page_is_allowed_under_its_known_names_only() -> None:
    policy = OriginPolicy([APP], own_hosts=["rt.example.org"])
    assert policy.allows("http://127.0.0.1:4000", host="127.0.0.1:4000")
    assert policy.allows("https://rt.example.org", host="rt.example.org")
    assert not policy.allows("http://127.0.0.1:5000", host="127.0.0.1:4000")
    # A name of an attacker that leads to this machine: both headers say the same.
    assert not policy.allows("http://rebound.evil.example:4000", host="rebound.evil.example:4000")


def test_pages_without_an_origin_of_their_own_can_be_listed() -> None:
    assert OriginPolicy(["null"]).allows("null", host="x")


@pytest.mark.parametrize(
    "text", ["app.example.org", "ftp://a", "https://", f"{APP}/x", "*", "https://*"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        OriginPolicy([text])
