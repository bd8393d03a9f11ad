from __future__ import annotations

import msgspec
import pytest

from tidewire.transports.limits import SocketLimits


def test_defaults_follow_the_wire_specification() -> None:
    assert SocketLimits().max_message_bytes == 5_000_000


@pytest.mark.parametrize(
    "settings",
    [{"max_message_bytes": 100}, {"close_timeout_s": 0}, {"max_connections": 0}, {"typo": 1}],
)
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, SocketLimits)
