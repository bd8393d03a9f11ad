from __future__ import annotations

from typing import Any, cast

import pytest

from tidewire.core.errors import SetupError
from tidewire.server.forwarded import ForwardedRequests, TrustedProxies


@pytest.mark.parametrize(
    ("trusted", "peer", "header", "address"),
    [
        ((), "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "", "10.0.0.1"),
        (("10.0.0.0/8",), "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        # What stands in front of the first untrusted address may be invented.
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
        (("::1",), "::1", "2001:db8::7", "2001:db8::7"),
        (("::1",), "", "1.2.3.4", ""),
    ],
)
def test_the_nearest_untrusted_address_counts(
    trusted: tuple[str, ...], peer: str, header: str, address: str
) -> None:
    assert TrustedProxies(trusted).client_address(peer, header) == address


def test_what_is_no_network_is_refused_with_advice() -> None:
    with pytest.raises(SetupError, match=r"trusted proxies.*\n.*10\.0\.0\.0/8"):
        TrustedProxies(["proxy.example"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "host"),
    [
        ("10.0.0.1", "acme.example", "acme.example"),
        ("9.9.9.9", "acme.example", "real.example"),
        ("10.0.0.1", "", "real.example"),
        # Only what the trusted proxy itself wrote, which stands last.
        ("10.0.0.1", "evil.example, acme.example", "acme.example"),
        ("10.0.0.1", "acme.example,", "real.example"),
    ],
)
def test_the_host_is_a_trusted_proxys_word(peer: str, forwarded: str, host: str) -> None:
    assert TrustedProxies(("10.0.0.0/8",)).host(peer, "real.example", forwarded) == host


async def requested(peer: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": list(headers)}
    forwarded = ForwardedRequests(app, TrustedProxies(("10.0.0.0/8",)))
    await forwarded(scope, cast("Any", None), cast("Any", None))
    return seen[0]


HEADERS = (
    (b"host", b"real.example"),
    (b"x-forwarded-host", b"acme.example"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-proto", b"https"),
)


async def test_a_request_through_a_trusted_proxy_is_as_the_client_sent_it() -> None:
    scope = await requested("10.0.0.1", *HEADERS)
    assert scope["client"] == ("1.2.3.4", 0)
    assert scope["scheme"] == "https"
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"acme.example"]


async def test_what_anybody_else_claims_is_not_believed() -> None:
    scope = await requested("9.9.9.9", *HEADERS)
    assert (scope["client"], scope["scheme"]) == (("9.9.9.9", 5), "http")
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"real.example"]


async def test_an_odd_scheme_is_not_taken_over() -> None:
    scope = await requested("10.0.0.1", (b"host", b"x"), (b"x-forwarded-proto", b"javascript"))
    assert scope["scheme"] == "http"
