"""The HTTP side of WebSocket (RFC 6455 section 4): reading the request head, answering it.

Only heads that ask for an upgrade are read here; all other requests belong to the HTTP server.
Because the bytes behind an accepted head are frames, whatever could make two readers of one head
disagree about where it ends or to whom it is addressed is refused: bare line feeds, folded
lines, repeated `Host`, bodies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, unquote_plus

import msgspec

from tidewire.core.errors import ProtocolViolationError

HEAD_END: Final = b"\r\n\r\n"
HEADERS_MAX: Final = 128

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
_TOKEN_BYTES: Final = (
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
# All control characters but tab, CR and LF, which are judged by where they stand.
_CONTROL_BYTES: Final = bytes({*range(32), 127} - {9, 10, 13})
_ONCE_AT_MOST: Final = frozenset(
    ("host", "upgrade", "sec-websocket-key", "sec-websocket-version", "content-length")
)


class HandshakeError(ProtocolViolationError):
    """The request is refused.

    Attributes:
        status: HTTP status to answer with.
        headers: Headers the answer needs.
    """

    def __init__(
        self, reason: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class RequestHead(msgspec.Struct, frozen=True):
    """A request's head, well formed.

    Attributes:
        method: As sent.
        path: Without query, percent-decoded.
        query: The query string, not decoded.
        version: Such as ``HTTP/1.1``.
        headers: Names in lower case; equal names joined by ", ".
    """

    method: str
    path: str
    query: str
    version: str
    headers: dict[str, str]


class Deflate(msgspec.Struct, frozen=True):
    """What was agreed on permessage-deflate.

    Attributes:
        response: Value of the response's Sec-WebSocket-Extensions.
        sends_shared_frames: Whether frames compressed for all peers suit this one. A peer that
            asks for a smaller window than theirs is sent nothing compressed, which it allowed.
    """

    response: str
    sends_shared_frames: bool


def has_bare_line_break(data: bytes | bytearray) -> bool:
    """Whether a CR or LF stands alone; a CR at the very end may yet become a pair."""
    pairs = data.count(b"\r\n")
    returns = data.count(b"\r") - data.endswith(b"\r")
    return data.count(b"\n") != pairs or returns != pairs


def may_ask_upgrade(head: bytes) -> bool:
    """Whether a head without bare line breaks can hold an Upgrade header; cheap, never misses."""
    return b"\r\nupgrade:" in head.lower()


def parse_head(head: bytes) -> RequestHead:
    """Read a request head.

    Args:
        head: From the request line to the last header, without the empty line.

    Raises:
        HandshakeError: Malformed, ambiguous or with too many headers.
    """
    if has_bare_line_break(head + b"\n" if head.endswith(b"\r") else head):
        raise HandshakeError("bare line break in the request head")
    if len(head.translate(None, _CONTROL_BYTES)) != len(head):
        raise HandshakeError("control character in the request head")
    request_line, *lines = head.split(b"\r\n")
    parts = request_line.decode("latin-1").split(" ")
    if len(parts) != 3:
        raise HandshakeError("malformed request line")
    method, target, version = parts
    path, query = _split_target(target)
    return RequestHead(method, path, query, version, _parse_headers(lines))


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > HEADERS_MAX:
        raise HandshakeError("too many headers", status=431)
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        # A folded line has a blank where its name should begin, so this refuses it too.
        if not colon or not raw_name or raw_name.translate(None, _TOKEN_BYTES):
            raise HandshakeError("malformed header")
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE_AT_MOST:
            raise HandshakeError(f"repeated header {name}")
        else:
            headers[name] += ", " + value
    return headers


def _split_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        # The absolute form, which every server must take (RFC 9112 section 3.2.2).
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in ("http", "https", "ws", "wss"):
            raise HandshakeError("malformed request target")
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    return unquote(path, errors="replace"), query


def parse_query(query: str) -> dict[str, str]:
    """Parameters of a query string, decoded; the last of equal names wins."""
    parameters: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            parameters[unquote_plus(name)] = unquote_plus(value)
    return parameters


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]


def asks_websocket(head: RequestHead) -> bool:
    """Whether the request wants WebSocket, well asked or not."""
    return "websocket" in _tokens(head.headers.get("upgrade", ""))


def check_upgrade(head: RequestHead) -> str:
    """Judge a request that asks for WebSocket.

    Returns:
        Its Sec-WebSocket-Key.

    Raises:
        HandshakeError: It breaks section 4.2.1 of RFC 6455; status 426 for another version of
            WebSocket, else 400.
    """
    headers = head.headers
    if head.method != "GET" or head.version != "HTTP/1.1":
        raise HandshakeError("a WebSocket upgrade must be a GET of HTTP/1.1")
    if not headers.get("host"):
        raise HandshakeError("header host is missing")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise HandshakeError("a WebSocket upgrade has no body")
    # Firefox says "keep-alive, Upgrade".
    if "upgrade" not in _tokens(headers.get("connection", "")):
        raise HandshakeError("header connection does not say upgrade")
    if headers.get("sec-websocket-version") != "13":
        raise HandshakeError(
            "only version 13 of WebSocket is spoken here",
            status=426 if "sec-websocket-version" in headers else 400,
            headers={"Sec-WebSocket-Version": "13"},
        )
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise HandshakeError("header sec-websocket-key is not 16 bytes in base64")
    return key


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except ValueError:
        return False


def accept_key(key: str) -> str:
    """The proof that the upgrade was understood (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def negotiate_deflate(offers: str) -> Deflate | None:
    """Choose among the extensions a client offers (RFC 7692 section 7.1).

    Context takeover is always declined, in both directions.

    Args:
        offers: Value of the request's Sec-WebSocket-Extensions.

    Returns:
        The first acceptable offer under which shared frames can be sent, else the first
        acceptable one, else None.
    """
    if not offers:
        return None
    agreed = [deflate for offer in offers.split(",") if (deflate := _accept_offer(offer))]
    return next((deflate for deflate in agreed if deflate.sends_shared_frames), None) or next(
        iter(agreed), None
    )


def _accept_offer(offer: str) -> Deflate | None:
    name, *parameters = (part.strip() for part in offer.split(";"))
    if name.lower() != "permessage-deflate":
        return None
    seen: dict[str, str] = {}
    for parameter in parameters:
        key, equals, value = (part.strip() for part in parameter.partition("="))
        key, value = key.lower(), value.strip('"')
        if key in seen or not _is_valid_parameter(key, value, has_value=bool(equals)):
            return None
        seen[key] = value
    response = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    window_bits = seen.get("server_max_window_bits")
    if window_bits is None:
        return Deflate(response, sends_shared_frames=True)
    return Deflate(
        f"{response}; server_max_window_bits={window_bits}", sends_shared_frames=window_bits == "15"
    )


def _is_valid_parameter(key: str, value: str, *, has_value: bool) -> bool:
    if key in ("server_no_context_takeover", "client_no_context_takeover"):
        return not has_value
    if key == "client_max_window_bits" and not has_value:
        return True
    return key in ("client_max_window_bits", "server_max_window_bits") and (
        value in ("8", "9", "10", "11", "12", "13", "14", "15")
    )


def switching_protocols(key: str, deflate: Deflate | None) -> bytes:
    """The answer that makes the connection a WebSocket."""
    extensions = f"Sec-WebSocket-Extensions: {deflate.response}\r\n" if deflate else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{extensions}\r\n"
    ).encode("latin-1")


def refusal(
    status: int,
    body: bytes = b"",
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole HTTP response, after which the connection closes."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    fields = {**(headers or {}), "Content-Length": str(len(body)), "Connection": "close"}
    if body:
        fields["Content-Type"] = content_type
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1") + body
