"""Settings of section broadcast. How they are read is `settings`' matter."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class BroadcastSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Broadcasts that are rows of realtime.messages: sent from SQL, or kept for replay."""

    retention_days: Annotated[
        int,
        Meta(
            ge=1,
            le=365,
            description="Whole days that messages are kept, besides today; older partitions of "
            "realtime.messages are dropped.",
        ),
    ] = 3
    late_max_s: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds after its commit that a message from SQL is still sent, when the "
            "server was away meanwhile; older ones are counted and dropped.",
        ),
    ] = 3600.0
    late_hold_s: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="Seconds after its start that the server keeps messages from SQL which "
            "were committed before it, for clients that are only coming back.",
        ),
    ] = 20.0
    replay_max: Annotated[
        int,
        Meta(ge=1, le=1000, description="Messages that one replay brings at most."),
    ] = 25
