"""Whose request it is, and for which host, when it came through proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.core.errors import SetupError
from tidewire.core.host_name import is_address

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Headers = list[tuple[bytes, bytes]]


class TrustedProxies:
    """Proxies whose X-Forwarded-… headers are believed."""

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
        while hops and self.trusts(address):
            hop = hops.pop().strip()
            if not is_address(hop):
                break
            address = hop
        return address

    def host(self, peer: str, host: str, forwarded_host: str) -> str:
        """The host that the client asked for.

        Args:
            peer: Address of the socket's other end.
            host: The Host header.
            forwarded_host: X-Forwarded-Host, "" without one. Its last entry was written by the
                proxy that is trusted; those before it anyone may have written.
        """
        named = forwarded_host.rpartition(",")[2].strip()
        return named if named and self.trusts(peer) else host

    def trusts(self, address: str) -> bool:
        """Whether a proxy with this address is believed."""
        if not self._networks or not is_address(address):
            return False
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


class ForwardedRequests:
    """Gives an HTTP application requests as the client sent them: address, scheme and host."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, put right where a trusted proxy brought it.

        A request with two hosts, or of HTTP/1.1 with none, is refused (RFC 9112 section 3.2):
        a proxy and we could take it for different tenants'.
        """
        if scope["type"] == "http" and not _has_one_host(scope):
            await Response("one Host header, please", 400)(scope, receive, send)
            return
        client = scope.get("client")
        if scope["type"] == "http" and client and self._proxies.trusts(client[0]):
            scope = self._as_sent(scope, client[0])
        await self._app(scope, receive, send)

    def _as_sent(self, scope: Scope, peer: str) -> Scope:
        headers: _Headers = scope["headers"]
        address = self._proxies.client_address(peer, joined_header(headers, b"x-forwarded-for"))
        changed: Scope = {**scope, "client": (address, 0)}
        scheme = joined_header(headers, b"x-forwarded-proto").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            changed["scheme"] = scheme
        forwarded_host = joined_header(headers, b"x-forwarded-host")
        host = self._proxies.host(peer, "", forwarded_host)
        if host:
            kept = [(name, value) for name, value in headers if name != b"host"]
            changed["headers"] = [(b"host", host.encode("latin-1")), *kept]
        return changed


def _has_one_host(scope: Scope) -> bool:
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    return hosts == 1 or (hosts == 0 and scope.get("http_version") == "1.0")


def joined_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """All values of one header, joined by commas; "" when it is absent."""
    return ", ".join([value.decode("latin-1") for known, value in headers if known == name])
