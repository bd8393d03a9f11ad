"""Close codes of RFC 6455 section 7.4 and of its registry."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

# 1004 is reserved; 1005, 1006 and 1015 are only ever said to one's own side.
_REGISTERED = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry `code` (3000-4999 are for libraries and applications)."""
    return code in _REGISTERED or 3000 <= code <= 4999
