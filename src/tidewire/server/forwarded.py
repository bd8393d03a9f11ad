"""Whose address a request carries when it came through proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from tidewire.core.errors import SetupError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Proxies whose X-Forwarded-For is believed."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Trust these.

        Args:
            networks: Addresses or networks, such as ``10.0.0.0/8``.

        Raises:
            SetupError: One of them is neither.
        """
        try:
            self._networks: tuple[_Network, ...] = tuple(
                ipaddress.ip_network(network) for network in networks
            )
        except ValueError as error:
            raise SetupError(
                f"trusted proxies: {error}", "Give addresses or networks, such as 10.0.0.0/8."
            ) from None

    def client_address(self, peer: str, forwarded_for: str) -> str:
        """The nearest address that is not a trusted proxy.

        Args:
            peer: Address of the socket's other end.
            forwarded_for: The header, "" without one; anyone may have written its beginning.
        """
        address = peer
        hops = forwarded_for.split(",") if forwarded_for else []
        while hops and self._trusts(address):
            hop = hops.pop().strip()
            if not _is_address(hop):
                break
            address = hop
        return address

    def _trusts(self, address: str) -> bool:
        if not self._networks or not _is_address(address):
            return False
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
