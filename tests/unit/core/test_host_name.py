from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.host_name import first_label, host_name, is_host_name, is_loopback


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("acme.example.org", "acme.example.org"),
        ("ACME.Example.org:4000", "acme.example.org"),
        ("acme.example.org.", "acme.example.org"),
        ("localhost", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:4000", "::1"),
        ("[::1]", "::1"),
        (" acme ", "acme"),
        ("realtime_dev.internal:1", "realtime_dev.internal"),
    ],
)
def test_a_host_is_read_without_its_port(header: str, host: str) -> None:
    assert host_name(header) == host


@pytest.mark.parametrize(
    "header",
    [
        "", ":80", "a:b", "a:80:90", "a b", "a/b", "a@b", "user@acme:80", "acme:", "[::1", "[acme]",
        "[::1]x", "-a", "a-.b", "a..b", ".", "acme\0", "acmé", "a:999999", "a," + "b", "a" * 254,
    ],
)  # fmt: skip
def test_what_is_no_host_is_none_at_all(header: str) -> None:
    assert host_name(header) == ""


@given(st.text(max_size=40))
def test_any_text_gives_a_host_or_nothing(text: str) -> None:
    host = host_name(text)
    assert host == "" or is_host_name(host)
    assert not set("/@%") & set(host)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False),
     ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_this_machines_names_are_known(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local


def test_an_address_has_no_label() -> None:
    assert (first_label("acme.example"), first_label("127.0.0.1")) == ("acme", "")
