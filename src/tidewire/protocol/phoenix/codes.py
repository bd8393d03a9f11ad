"""Reasons and texts of the wire, each in one place. Source: wire specification 1.4, 3.5, 3.8."""

from __future__ import annotations

from tidewire.core.errors import TokenError

UNMATCHED_TOPIC = "unmatched topic"
TOPIC_NAME_REQUIRED = "TopicNameRequired: You must provide a topic name"
TOO_MANY_CHANNELS = "ChannelRateLimitReached: Too many channels"
TOO_MUCH_HELD = "ChannelRateLimitReached: The joins of this connection are too large together"
TOO_MANY_USERS = "Too many connected users"
RESTARTING = "RealtimeRestarting: Realtime is restarting, please standby"
INITIALIZING = "InitializingProjectConnection: Realtime is initializing the project connection"
NO_DATABASE = "Realtime was unable to connect to the project database"
JOIN_NO_DATABASE = f"UnableToConnectToProject: {NO_DATABASE}"
TOO_MANY_ASK = "IncreaseConnectionPool: Please increase your connection pool size"
MISSING_PARTITION = "MissingPartition: Realtime was unable to find the expected messages partition"
QUERY_WAS_CANCELLED = "Query was cancelled, please try again"
QUERY_CANCELED = f"QueryCanceled: {QUERY_WAS_CANCELLED}"
PRIVATE_ONLY = "PrivateOnly: This project only allows private channels"
UNAUTHORIZED = "unauthorized"
JOIN_CRASHED = "join crashed"
TOKEN_REVOKED = "Token has been revoked"  # noqa: S105 - a message
TENANT_NOT_FOUND = "Tenant not found"
TENANT_DISABLED = "Realtime was disabled for this tenant"
NOT_CONNECTED = "Error connecting to Realtime"
API_KEY_MISSING = "API key is missing"
REPLICATION_READY = "Replication connection established"
REPLICATION_NOT_READY = "Replication connection was not established in time"
REPLAY_FAILED = "UnableToReplayMessages: Realtime was unable to replay messages"
REPLAY_INVALID = "UnableToReplayMessages: Replay params are not valid"
REPLAY_NOT_PRIVATE = "UnableToReplayMessages: Replay is not allowed for public channels"
PRESENCE_NOT_A_MAP = "Presence track payload must be a map"
PAYLOAD_TOO_LARGE = "payload_size_exceeded"
PAYLOAD_NOT_AN_OBJECT = "payload_not_an_object"
PRESENCE_TOO_MANY_KEYS = "Presence track payload has too many keys"
TOO_MANY_JOINS = "ClientJoinRateLimitReached: Too many joins per second"
TOO_MANY_JOINS_UPGRADE = "Too many joins per second"
TOO_MANY_MESSAGES = "Too many messages per second"
TOO_MANY_BYTES = "Too many bytes per second"
MESSAGES_LIMIT_REACHED = "MessagePerSecondRateLimitReached"
RATE_LIMIT_REACHED = "rate_limit_reached"
TRACK_TOO_LARGE = "Track message size exceeded"


def token_refused(error: TokenError) -> str:
    """Why a join's token is refused."""
    return f"{error.kind}: {error}"


def may_not_read(sub_topic: str) -> str:
    """A private channel's policies deny reading."""
    return f"You do not have permissions to read from this Channel topic: {sub_topic}"


def may_no_longer_read(sub_topic: str) -> str:
    """A new token or policy takes a right to read a private channel away."""
    return f"You no longer have permission to read from this Channel topic: {sub_topic}"


def upgrade_refused(error: TokenError) -> str:
    """Why an upgrade's token is refused: the join's text without how long ago (1.4)."""
    text = str(error)
    return "Token has expired" if text.startswith("Token has expired") else text
