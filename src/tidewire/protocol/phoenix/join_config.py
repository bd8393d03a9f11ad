"""What a phx_join asks for. Source: wire specification 3.1.

An invalid part never fails a join: it falls back to its default and is named in `problems`, which
the engine logs.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

_BOOLEANS = {"true": True, "false": False}
_ENTRIES_MAX = 1000

REPLAY_LIMIT = 10
"""Messages that a replay brings when its join says no number."""


class ReplayWish(msgspec.Struct, frozen=True):
    """Which history a join asks for.

    Attributes:
        since_ms: Milliseconds since 1970 UTC.
        limit: How many messages.
        is_valid: Whether both are whole numbers; else the join is refused (4.10).
    """

    since_ms: int = 0
    limit: int = REPLAY_LIMIT
    is_valid: bool = True


class JoinConfig(msgspec.Struct, frozen=True):
    """A join's wishes, defaults filled in.

    Attributes:
        broadcast_ack: Reply to each broadcast push.
        broadcast_self: Deliver own broadcasts to this channel too.
        replication_ready: Say when broadcasts from SQL arrive (3.7).
        replay: History to send after the answer; None for none.
        presence_key: Key to be shown under; "" lets the server choose.
        presence_enabled: Send presence_state.
        entries: The postgres_changes entries as they came, nulls dropped.
        private: Whether the private room of this name is meant.
        access_token: Token for this channel, or None for the connection's.
        problems: Parts that did not parse, for the log.
    """

    broadcast_ack: bool = False
    broadcast_self: bool = False
    replication_ready: bool = False
    replay: ReplayWish | None = None
    presence_key: str = ""
    presence_enabled: bool = False
    entries: tuple[dict[str, Any], ...] = ()
    private: bool = False
    access_token: str | None = None
    problems: tuple[str, ...] = ()


class _Reader:
    """Takes typed values out of decoded JSON and notes what did not fit."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def object(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        value = parent.get(key)
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if value is not None:
            self.problems.append(f"{key} is not an object")
        return {}

    def boolean(self, parent: dict[str, Any], key: str) -> bool:
        value = parent.get(key)
        if isinstance(value, str):
            value = _BOOLEANS.get(value.lower(), value)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.problems.append(f"{key} is not a boolean")
        return False

    def scalar_text(self, parent: dict[str, Any], key: str) -> str:
        value = parent.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        self.problems.append(f"{key} is not a scalar")
        return ""

    def entries(self, parent: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        value = parent.get("postgres_changes")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problems.append("postgres_changes is not an array")
            return ()
        items = [item for item in cast("list[Any]", value)[:_ENTRIES_MAX] if item is not None]
        objects = tuple(cast("dict[str, Any]", item) for item in items if isinstance(item, dict))
        if len(objects) != len(items) or len(cast("list[Any]", value)) > _ENTRIES_MAX:
            self.problems.append("postgres_changes has entries that are no objects, or too many")
        return objects


def parse_join_config(payload: bytes) -> JoinConfig:
    """Read a join's payload; never raises."""
    try:
        decoded = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return JoinConfig(problems=("payload is not JSON",))
    if not isinstance(decoded, dict):
        return JoinConfig(problems=("payload is not an object",))
    root = cast("dict[str, Any]", decoded)
    reader = _Reader()
    config = reader.object(root, "config")
    broadcast = reader.object(config, "broadcast")
    presence = reader.object(config, "presence")
    return JoinConfig(
        broadcast_ack=reader.boolean(broadcast, "ack"),
        broadcast_self=reader.boolean(broadcast, "self"),
        replication_ready=reader.boolean(broadcast, "replication_ready"),
        replay=_replay(broadcast),
        presence_key=reader.scalar_text(presence, "key"),
        presence_enabled=reader.boolean(presence, "enabled"),
        entries=reader.entries(config),
        private=reader.boolean(config, "private"),
        access_token=_token(root, reader),
        problems=tuple(reader.problems),
    )


def _replay(broadcast: dict[str, Any]) -> ReplayWish | None:
    value = broadcast.get("replay")
    if value is None:
        return None
    if not isinstance(value, dict):
        return ReplayWish(is_valid=False)
    wish = cast("dict[str, Any]", value)
    since_ms, limit = wish.get("since", 0), wish.get("limit", REPLAY_LIMIT)
    if not _is_whole(since_ms) or not _is_whole(limit):
        return ReplayWish(is_valid=False)
    return ReplayWish(since_ms, limit)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _token(root: dict[str, Any], reader: _Reader) -> str | None:
    """The token that counts; opaque ``sb_`` keys leave the connection's in force (3.2)."""
    tokens = [root.get("user_token"), root.get("access_token")]
    for token in tokens:
        if token is not None and not isinstance(token, str):
            reader.problems.append("a token is not a string")
    texts = [token for token in tokens if isinstance(token, str)]
    if any(text.startswith("sb_") for text in texts):
        return None
    return texts[0] if texts else None
