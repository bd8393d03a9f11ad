from __future__ import annotations

import pytest

from tidewire.core.snapshot import shows

EPOCH = 1 << 32


@pytest.mark.parametrize(
    ("snapshot", "xid", "is_shown"),
    [
        ("10:20:", 9, True),
        ("10:20:", 19, True),
        ("10:20:", 20, False),
        ("10:20:10,15", 10, False),
        ("10:20:10,15", 11, True),
        ("10:20:10,15", 15, False),
        (f"{EPOCH + 10}:{EPOCH + 20}:{EPOCH + 15}", 15, False),
        (f"{EPOCH + 10}:{EPOCH + 20}:{EPOCH + 15}", 16, True),
        (f"{EPOCH + 10}:{EPOCH + 20}:", EPOCH - 5, True),  # from before the ids began anew
        (f"{EPOCH - 10}:{EPOCH - 5}:", 3, False),  # from after that
    ],
)
def test_a_snapshot_shows_what_was_over_when_it_was_taken(
    snapshot: str, xid: int, *, is_shown: bool
) -> None:
    assert shows(snapshot, xid) is is_shown
