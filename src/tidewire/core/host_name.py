"""Host names as the headers of requests carry them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

LOOPBACK_NAME: Final = "localhost"
HOST_CHARACTERS_MAX: Final = 253

# Also punycode; an underscore is no letter of a host, but names in private networks have them.
_NAME = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)


def host_name(header: str) -> str:
    """The host of a Host header: lower case, without port, brackets and final dot.

    "" when it is none: nothing is guessed from a header that is malformed.
    """
    text = header.strip().lower()
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        is_whole = bracket and (not port or (port[0] == ":" and _is_port(port[1:])))
        return address if is_whole and is_address(address) else ""
    name, colon, port = text.partition(":")
    if colon and not _is_port(port):
        return ""
    name = name.removesuffix(".")
    return name if is_host_name(name) else ""


def is_host_name(text: str) -> bool:
    """Whether `text` is a host's name or address, without port."""
    if is_address(text):
        return True
    return len(text) <= HOST_CHARACTERS_MAX and _NAME.fullmatch(text.lower()) is not None


def is_address(text: str) -> bool:
    """Whether `text` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is this machine's own matter, and holds any characters


def is_loopback(host: str) -> bool:
    """Whether a host, as `host_name` gives it, is this machine by a name of its own."""
    if is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == LOOPBACK_NAME


def first_label(host: str) -> str:
    """What stands before the first dot of a name; "" for an address."""
    return "" if is_address(host) else host.partition(".")[0]


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 5
