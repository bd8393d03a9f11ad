"""What a client's frame says, whichever serializer it came in."""

from __future__ import annotations

import msgspec

from tidewire.core.message import PayloadEncoding

HEARTBEAT_TOPIC = "phoenix"


class UserBroadcast(msgspec.Struct, frozen=True, gc=False):
    """The body of a binary kind-3 push.

    Attributes:
        event: The user's event name.
        body: The user's payload; JSON text that was checked, or raw bytes.
        encoding: Which of the two.
        metadata: JSON object the client sent along, or b"".
    """

    event: str
    body: bytes
    encoding: PayloadEncoding
    metadata: bytes = b""


class ClientFrame(msgspec.Struct, frozen=True, gc=False):
    """One frame from a client.

    Attributes:
        join_ref: JSON text, echoed exactly; b"null" when absent.
        ref: JSON text, echoed exactly.
        topic: Wire name.
        event: Event name.
        payload: JSON text of the payload; b"" when `broadcast` is set.
        broadcast: Set for a binary user-broadcast push.
    """

    join_ref: bytes
    ref: bytes
    topic: str
    event: str
    payload: bytes
    broadcast: UserBroadcast | None = None
