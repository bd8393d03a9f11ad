"""The name of one unbroken history, and what must be remembered to name it.

An epoch is the cluster's system identifier and the incarnation of our slot. The incarnation is
the second at which the slot was made, raised past the former one if need be: it never repeats,
even when the record of it was lost, so a position of an old history can never pass for one of
the present.
"""

from __future__ import annotations

import secrets
from typing import Protocol

import msgspec


class SlotRecord(msgspec.Struct, frozen=True):
    """What is kept of our slot from one run to the next.

    Attributes:
        owner: Names this installation (32 hexadecimal digits). Our connections carry it, which
            is how a connection that a former run left behind is known as ours.
        system_identifier: The cluster that the slot was made in; "" before the first.
        incarnation: The slot's incarnation; 0 before the first.
    """

    owner: str
    system_identifier: str = ""
    incarnation: int = 0

    @property
    def epoch(self) -> str:
        """Name of the history; "" before the first slot."""
        if not self.incarnation:
            return ""
        return f"{int(self.system_identifier):x}-{self.incarnation:x}"

    @property
    def application_name(self) -> str:
        """What our connections call themselves in `pg_stat_activity`."""
        return f"tidewire {self.owner}"

    def renewed(self, system_identifier: str, *, now_s: float) -> SlotRecord:
        """The record of a slot made now."""
        return SlotRecord(
            owner=self.owner,
            system_identifier=system_identifier,
            incarnation=max(int(now_s), self.incarnation + 1),
        )


class EpochStore(Protocol):
    """Keeps the `SlotRecord`.

    Promise: one process at a time uses a store (a lock guards it); two that share one would
    take the stream from each other.
    """

    def load(self) -> SlotRecord | None:
        """What was saved last; None when nothing was."""
        ...

    def save(self, record: SlotRecord) -> None:
        """Keep `record`; durable when this returns. Called rarely: it may block for a sync."""
        ...


def load_record(store: EpochStore) -> SlotRecord:
    """The stored record, or a fresh one with a new owner, stored."""
    record = store.load()
    if record is None:
        # Not from a seeded generator: two with one name would end each other's connections.
        record = SlotRecord(owner=secrets.token_hex(16))
        store.save(record)
    return record
