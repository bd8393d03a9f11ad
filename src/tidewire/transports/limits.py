"""Bounds of the socket layer."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Bytes = Annotated[int, msgspec.Meta(ge=1024)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class SocketLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one socket may take, and how many there may be.

    Attributes:
        max_message_bytes: Longest message from a client, also after inflation; longer closes
            with 1009 (wire specification 1.6).
        write_buffer_bytes: What may wait for one client beyond the kernel's buffers before it
            counts as slow (see `drain_timeout_s`).
        drain_timeout_s: How long a slow client may read nothing at all before it is cut off. It
            is cut off before that when a fifth of the limit more would wait for it.
        sndbuf_bytes: Kernel send buffer of each socket (Linux doubles it). Small, because what
            the kernel swallows for a client that does not read is memory too, and hides it; it
            also bounds what is under way, so what one client can be sent a round trip.
        head_timeout_s: How long a client may take to send its first request head.
        head_bytes_max: Longest first request head.
        body_timeout_s: How long it may take to send the body of a request.
        heads_max: Connections that have sent no whole head yet; of more, the oldest is ended.
        accept_timeout_s: How long the decision on an upgrade may take.
        close_timeout_s: How long a closing connection may take to end.
        max_connections: Most connections at once, HTTP included; more are answered 503. Each
            needs an open file: the server says at start when the system allows fewer.
    """

    max_message_bytes: _Bytes = 5_000_000
    write_buffer_bytes: _Bytes = 1 << 20
    drain_timeout_s: _Seconds = 10.0
    sndbuf_bytes: _Bytes = 64 << 10
    head_timeout_s: _Seconds = 10.0
    head_bytes_max: _Bytes = 16 << 10
    body_timeout_s: _Seconds = 60.0
    heads_max: Annotated[int, msgspec.Meta(ge=1)] = 8192
    accept_timeout_s: _Seconds = 10.0
    close_timeout_s: _Seconds = 5.0
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
