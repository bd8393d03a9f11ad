from __future__ import annotations

import pytest

from tidewire.core.errors import SetupError
from tidewire.server.forwarded import TrustedProxies


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
