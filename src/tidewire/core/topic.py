"""Topic names."""

from __future__ import annotations

import msgspec

from tidewire.core.errors import InvalidTopicError

PREFIX = "realtime:"


class Topic(msgspec.Struct, frozen=True, gc=False):
    """A channel's topic, scoped to its tenant and to public or private.

    Public and private channels of one name are separate rooms.
    Source: wire specification 2.5, 4.3.

    Attributes:
        wire_name: As it stands in frames, prefix included.
        sub_topic: What the user chose, without the prefix.
        private: Whether it is a private channel's.
        tenant: Name of the tenant.
    """

    wire_name: str
    sub_topic: str
    private: bool = False
    tenant: str = "default"

    @classmethod
    def parse(cls, wire_name: str, *, private: bool = False, tenant: str = "default") -> Topic:
        """Read a topic from a frame.

        Raises:
            InvalidTopicError: Nothing stands behind the prefix, or the prefix is another.
        """
        sub_topic = wire_name.removeprefix(PREFIX)
        if not sub_topic or sub_topic == wire_name:
            raise InvalidTopicError("You must provide a topic name")
        return cls(wire_name, sub_topic, private, tenant)

    @property
    def key(self) -> str:
        """What brokers and stores know the topic by."""
        return f"{self.tenant}:{'private' if self.private else 'public'}:{self.sub_topic}"
