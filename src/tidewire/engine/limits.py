"""Bounds of one node. Each names what happens where it is met; rates of 0 do not bound.

The rates that are set stop a runaway loop, not an application: they lie above what this engine
carries on one core, or far above what a person at a screen causes.
"""

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
        presence_keys_max: Keys of one tracked object; beyond it the track is refused. 0: any.
        burst_s: Seconds of a rate that may come at once.
        joins_per_s: Joins of all connections; beyond it joins and upgrades are refused.
        connection_joins_per_s: Joins of one connection; beyond it they are refused.
        messages_per_s: Broadcasts of all connections; beyond it their senders are slowed.
        bytes_per_s: The same in bytes of payload.
        connection_messages_per_s: Pushes of one connection; beyond it it is slowed.
        connection_bytes_per_s: The same in bytes of payload.
        channel_messages_per_s: Pushes of one connection on one channel; beyond it it is slowed.
        channel_bytes_per_s: The same in bytes of payload.
        presence_per_s: Tracks of all connections; beyond it they are put off, the newest wins.
        connection_presence_per_s: Tracks of one connection, likewise.
        channel_presence_per_s: Tracks of one connection on one channel, likewise.
        conflated_bytes_max: What is kept for a client that reads too slowly; beyond it it is
            thrown away and the client told to fetch again.
        conflated_frames_max: The same in frames.
        kept_broadcasts_max: Newest broadcasts of each channel kept for such a client.
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
    presence_keys_max: int = 100
    burst_s: float = 5.0
    joins_per_s: float = 20_000
    connection_joins_per_s: float = 200
    messages_per_s: float = 50_000
    bytes_per_s: float = 0
    connection_messages_per_s: float = 10_000
    connection_bytes_per_s: float = 64 << 20
    channel_messages_per_s: float = 0
    channel_bytes_per_s: float = 0
    presence_per_s: float = 10_000
    connection_presence_per_s: float = 0
    channel_presence_per_s: float = 30
    conflated_bytes_max: int = 1 << 20
    conflated_frames_max: int = 10_000
    kept_broadcasts_max: int = 100
    presence_grace_s: float = 3.0
    ping_after_s: float = 1.5
    silent_after_s: float = 4.0
    idle_ping_after_s: float = 25.0
    idle_timeout_s: float = 60.0
    join_timeout_s: float = 9.0
    drain_timeout_s: float = 3.0
