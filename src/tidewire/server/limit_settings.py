"""The settings section ``limits``: every bound that can be set, and what it becomes.

Defaults are those of the engine and the socket layer, so each stands in one place.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tidewire.engine.limits import Limits
from tidewire.transports.limits import SocketLimits

_LIMITS = Limits()
_SOCKETS = SocketLimits()


def _rate(what: str, effect: str) -> Meta:
    return Meta(ge=0, description=f"{what} a second; beyond it {effect}. 0 for no limit.")


_SLOWED = "the sender is told and slowed, then refused"
_PUT_OFF = "tracks are put off and only the newest is shown"


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds; over one of them the sender is told, and nobody else is touched."""

    connections_max: Annotated[
        int, Meta(ge=1, description="Open client connections; beyond it an upgrade gets 429.")
    ] = 16_384
    channels_per_connection_max: Annotated[
        int, Meta(ge=1, description="Channels joined on one connection.")
    ] = _LIMITS.channels_per_connection_max
    message_bytes_max: Annotated[
        int, Meta(ge=1024, description="Bytes of one incoming message; more closes with 1009.")
    ] = _SOCKETS.max_message_bytes
    payload_bytes_max: Annotated[
        int, Meta(ge=1024, description="Bytes of one broadcast or presence payload.")
    ] = _LIMITS.payload_bytes_max
    held_bytes_max: Annotated[
        int,
        Meta(
            ge=65536,
            description="Bytes that one connection may make the server keep: topics and payloads "
            "of its joins, and what it tracks; beyond it a join or track is refused.",
        ),
    ] = _LIMITS.held_bytes_max
    presence_keys_max: Annotated[
        int, Meta(ge=0, description="Keys of one tracked object; 0 for any number.")
    ] = _LIMITS.presence_keys_max
    burst_s: Annotated[
        float, Meta(gt=0, le=60, description="Seconds of each rate below that may come at once.")
    ] = _LIMITS.burst_s
    joins_per_s: Annotated[
        float, _rate("Joins of all connections", "joins are refused and upgrades get 429")
    ] = _LIMITS.joins_per_s
    connection_joins_per_s: Annotated[
        float, _rate("Joins of one connection", "they are refused")
    ] = _LIMITS.connection_joins_per_s
    messages_per_s: Annotated[
        float,
        _rate("Broadcasts of all clients", f"{_SLOWED}, and the broadcast routes answer 429"),
    ] = _LIMITS.messages_per_s
    bytes_per_s: Annotated[float, _rate("Payload bytes of all connections", _SLOWED)] = (
        _LIMITS.bytes_per_s
    )
    connection_messages_per_s: Annotated[float, _rate("Pushes of one connection", _SLOWED)] = (
        _LIMITS.connection_messages_per_s
    )
    connection_bytes_per_s: Annotated[float, _rate("Payload bytes of one connection", _SLOWED)] = (
        _LIMITS.connection_bytes_per_s
    )
    channel_messages_per_s: Annotated[
        float, _rate("Pushes of one connection on one channel", _SLOWED)
    ] = _LIMITS.channel_messages_per_s
    channel_bytes_per_s: Annotated[
        float, _rate("Payload bytes of one connection on one channel", _SLOWED)
    ] = _LIMITS.channel_bytes_per_s
    presence_per_s: Annotated[float, _rate("Tracks of all connections", _PUT_OFF)] = (
        _LIMITS.presence_per_s
    )
    connection_presence_per_s: Annotated[float, _rate("Tracks of one connection", _PUT_OFF)] = (
        _LIMITS.connection_presence_per_s
    )
    channel_presence_per_s: Annotated[
        float, _rate("Tracks of one connection on one channel", _PUT_OFF)
    ] = _LIMITS.channel_presence_per_s
    outbox_bytes_max: Annotated[
        int,
        Meta(
            ge=65536,
            description="Bytes waiting for one client before it counts as too slow and what "
            "comes for it is conflated.",
        ),
    ] = _SOCKETS.write_buffer_bytes
    conflated_bytes_max: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes kept for a client that reads too slowly, newest state per row; "
            "beyond it they are thrown away and the client is told to fetch again.",
        ),
    ] = _LIMITS.conflated_bytes_max
    conflated_frames_max: Annotated[
        int, Meta(ge=0, description="The same as a number of frames.")
    ] = _LIMITS.conflated_frames_max
    kept_broadcasts_max: Annotated[
        int,
        Meta(
            ge=0,
            description="Newest broadcasts of each channel kept for a client that reads too "
            "slowly; it is told how many older ones it missed.",
        ),
    ] = _LIMITS.kept_broadcasts_max
    stalled_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds after which a client is cut off that is too slow and reads "
            "nothing at all.",
        ),
    ] = _SOCKETS.drain_timeout_s
    presence_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="Seconds that a presence outlives a connection which ended without a "
            "close frame.",
        ),
    ] = _LIMITS.presence_grace_s
    idle_timeout_s: Annotated[
        float, Meta(ge=5, description="Seconds of silence after which a client is closed.")
    ] = _LIMITS.idle_timeout_s
    join_timeout_s: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds that a join waits for the stream to be live."),
    ] = _LIMITS.join_timeout_s


REFUSABLE_CONNECTIONS = 256
"""Sockets beyond the limit that are taken for as long as it takes to answer them 429."""

_OF_SOCKETS = {"message_bytes_max", "outbox_bytes_max", "stalled_timeout_s"}


def node_limits(settings: LimitSettings, *, drain_timeout_s: float) -> Limits:
    """The engine's bounds."""
    own = {
        name: getattr(settings, name)
        for name in LimitSettings.__struct_fields__
        if name not in _OF_SOCKETS
    }
    return Limits(**own, drain_timeout_s=drain_timeout_s)


def socket_limits(settings: LimitSettings) -> SocketLimits:
    """The socket layer's bounds."""
    return SocketLimits(
        max_message_bytes=settings.message_bytes_max,
        write_buffer_bytes=settings.outbox_bytes_max,
        drain_timeout_s=settings.stalled_timeout_s,
        max_connections=settings.connections_max + REFUSABLE_CONNECTIONS,
    )
