"""From which pages a browser may call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tidewire.core.host_name import host_name, is_loopback

_ORIGIN = re.compile(r"(https?)://(\*\.)?([^/?#@*\s]+)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OPAQUE = "null"


class OriginPolicy:
    """Allows some origins, or all.

    A request without an Origin comes from no page, so this says nothing about it: keys and
    tokens guard the server, this guards the people whose browsers hold them.
    """

    def __init__(self, allowed: Sequence[str] = (), *, own_hosts: Iterable[str] = ()) -> None:
        """Allow these.

        Args:
            allowed: Origins such as ``https://app.example.org``, ``https://*.example.org`` for
                every name below that, or ``null`` for pages without one; none allows all.
            own_hosts: Hosts under which the server itself gives out pages; those of this
                machine's loopback always count.

        Raises:
            ValueError: One of them is no origin.
        """
        self._is_open = not allowed
        self._exact: set[str] = set()
        self._below: list[tuple[str, str]] = []
        self._own_hosts = {host.lower() for host in own_hosts}
        for text in allowed:
            self._allow(text)

    @property
    def is_open(self) -> bool:
        """Whether every origin is allowed."""
        return self._is_open

    def allows(self, origin: str, *, host: str) -> bool:
        """Whether a page of `origin` may call.

        Args:
            origin: The request's Origin; "" for none.
            host: Host header under which the server was called, with its port.
        """
        if self._is_open or not origin:
            return True
        shown = _normal(origin)
        return (
            shown in self._exact
            or any(shown.startswith(begin) and shown.endswith(end) for begin, end in self._below)
            or self._is_own_page(shown, host.lower())
        )

    def _allow(self, text: str) -> None:
        if text == _OPAQUE:
            self._exact.add(text)
            return
        match = _ORIGIN.fullmatch(text.lower())
        if match is None or not host_name(match[3]):
            raise ValueError(f"{text!r} is no origin such as https://app.example.org")
        scheme, is_below, _ = match.groups()
        shown = _normal(text)
        if is_below:
            self._below.append((f"{scheme}://", shown.partition("*")[2]))
        else:
            self._exact.add(shown)

    def _is_own_page(self, origin: str, host: str) -> bool:
        """Whether the page came from the very address that it calls now.

        Only under names that are known: a name of an attacker may lead to this machine too.
        """
        name = host_name(host)
        if not (is_loopback(name) or name in self._own_hosts):
            return False
        return origin in (_normal(f"http://{host}"), _normal(f"https://{host}"))


def _normal(origin: str) -> str:
    """Lower case, without the scheme's own port."""
    shown = origin.lower()
    scheme = shown.partition("://")[0]
    return shown.removesuffix(_DEFAULT_PORTS.get(scheme, "\n"))
