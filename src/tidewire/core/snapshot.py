"""Which transactions a snapshot of PostgreSQL shows.

Source: PostgreSQL manual, "Transaction ID and Snapshot Information Functions".
"""

from __future__ import annotations

_EPOCH = 1 << 32


def shows(snapshot: str, xid: int) -> bool:
    """Whether a committed transaction is visible in a snapshot.

    Args:
        snapshot: The text of `pg_current_snapshot()`: ``xmin:xmax:xip,xip``, 64-bit ids.
        xid: The 32-bit id of a transaction less than half of all ids away.
    """
    _, top, running = snapshot.split(":")
    xmax = int(top)
    id_ = xmax // _EPOCH * _EPOCH + xid
    if id_ > xmax + _EPOCH // 2:
        id_ -= _EPOCH
    elif id_ < xmax - _EPOCH // 2:
        id_ += _EPOCH
    return id_ < xmax and str(id_) not in running.split(",")
