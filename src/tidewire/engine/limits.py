"""Bounds of one node. Each names what happens where it is met."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one node.

    Attributes:
        connections_max: Open sockets; beyond it an upgrade gets 429.
        channels_per_connection_max: Joined or joining; beyond it a join is refused.
        held_bytes_max: What one connection's channels may make the server keep: their topics, the
            payloads of their joins and what they track; beyond it a join or track is refused.
        payload_bytes_max: Of one broadcast or tracked payload; beyond it it is refused.
        presence_grace_s: How long a presence outlives a connection that ended without a close
            frame, in case its key returns.
        ping_after_s: Silence after which a connection with presence is pinged.
        silent_after_s: Silence after which it is given up as half-open.
        idle_ping_after_s: Silence after which any other connection is pinged.
        idle_timeout_s: Silence after which any connection is closed with 1000.
        join_timeout_s: How long a join waits for the stream and the catalogue.
        drain_timeout_s: How long a drain waits for connections to close.
    """

    connections_max: int = 100_000
    channels_per_connection_max: int = 100
    held_bytes_max: int = 8 << 20
    payload_bytes_max: int = 3_000_500
    presence_grace_s: float = 3.0
    ping_after_s: float = 1.5
    silent_after_s: float = 4.0
    idle_ping_after_s: float = 25.0
    idle_timeout_s: float = 60.0
    join_timeout_s: float = 9.0
    drain_timeout_s: float = 3.0
