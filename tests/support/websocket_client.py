"""A blocking WebSocket client that can break every rule."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import NamedTuple

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
DEFLATE = "permessage-deflate"


class Frame(NamedTuple):
    """One frame from the server; `reserved` holds the three bits, RSV1 as 4."""

    opcode: int
    payload: bytes
    final: bool = True
    reserved: int = 0


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
    width: int | None = None,
    mask: bytes | None = None,
) -> bytes:
    """A frame as a client sends it, or a wrong one.

    Args:
        length: Length to claim instead of the true one.
        width: Bytes the length takes after the second byte: 0, 2 or 8; None for the shortest.
    """
    size = len(payload) if length is None else length
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size & 127, 2: 126, 8: 127}[width]
    extended = (size % (1 << 8 * width)).to_bytes(width, "big") if width else b""
    head = bytes((final << 7 | reserved << 4 | opcode, masked << 7 | short)) + extended
    if not masked:
        return head + payload
    mask = os.urandom(4) if mask is None else mask
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + body.to_bytes(len(payload), "big")


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def split_server_frames(data: bytes | bytearray) -> Iterator[tuple[Frame, int]]:
    """Whole frames at the beginning of `data`, each with where it ends."""
    at = 0
    while len(data) - at >= 2:
        first, length = data[at], data[at + 1]
        assert length < 128, "a server must not mask"
        start = at + 2
        if length >= 126:
            start += 2 if length == 126 else 8
            if len(data) < start:
                return
            length = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start + length:
            return
        at = start + length
        yield Frame(first & 15, bytes(data[start:at]), bool(first & 128), first >> 4 & 7), at


def upgrade_head(path: str = "/echo", *, extensions: str = "", **replaced: str | None) -> bytes:
    """An upgrade request; `replaced` gives headers with underscores, None leaves one out."""
    headers: dict[str, str | None] = {
        "Host": "example.test",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Extensions": extensions or None,
    }
    by_name = {name.lower(): name for name in headers}
    for keyword, value in replaced.items():
        name = keyword.replace("_", "-")
        headers[by_name.get(name.lower(), name)] = value
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")


class Client:
    """One TCP connection with deadlines on everything."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(timeout_s)
        try:
            raw.connect(address)
        except OSError:
            raw.close()
            raise
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, *, chop: int | None = None) -> None:
        for at in range(0, len(data), chop or len(data) or 1):
            self.socket.sendall(data[at : at + (chop or len(data))])

    def receive(self) -> bytes:
        """Some bytes; empty at the end of the connection, however it ended."""
        try:
            return self.socket.recv(1 << 18)
        except (ConnectionError, ssl.SSLError):
            return b""

    def receive_all(self) -> bytes:
        """Everything until the server ends the connection."""
        data = self.buffer
        while received := self.receive():
            data += received
        return data

    def response(self) -> tuple[str, dict[str, str]]:
        """Status line and headers of the answer; what follows stays in the buffer."""
        while b"\r\n\r\n" not in self.buffer:
            received = self.receive()
            assert received, f"connection ended within {self.buffer!r}"
            self.buffer += received
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        return status, {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}

    def upgrade(self, head: bytes | None = None, **options: str) -> dict[str, str]:
        self.send(head or upgrade_head(**options))
        status, headers = self.response()
        assert status == "HTTP/1.1 101 Switching Protocols", (status, self.buffer)
        return headers

    def frame(self) -> Frame | None:
        """The next frame; None when the connection ended."""
        data = bytearray(self.buffer)
        while True:
            for frame, end in split_server_frames(data):
                self.buffer = bytes(data[end:])
                return frame
            received = self.receive()
            if not received:
                assert not data, f"connection ended within a frame: {data[:40]!r}"
                self.buffer = b""
                return None
            data += received

    def frames_to_end(self) -> list[Frame]:
        frames: list[Frame] = []
        while frame := self.frame():
            frames.append(frame)
        return frames

    def reset(self) -> None:
        """End the connection without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
