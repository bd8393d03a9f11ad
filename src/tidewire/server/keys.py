"""The keys of a server: public one, all-seeing one, and tokens for anybody else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tidewire.adapters.jwt.sign import sign_key, sign_token
from tidewire.server.data_folder import write_whole

_MADE_AT = "keys_made_at"


class Keys(NamedTuple):
    """Keys that applications connect with.

    Attributes:
        anon: For visitors; public by nature.
        service_role: Sees everything; stays on servers.
    """

    anon: str
    service_role: str


def make_keys(secret: str, *, made_at_s: float) -> Keys:
    """The keys of one secret: equal arguments give equal keys.

    Args:
        secret: What they are signed with.
        made_at_s: Seconds since 1970 UTC from which they count.
    """
    return Keys(
        anon=sign_key(secret, "anon", now_s=made_at_s),
        service_role=sign_key(secret, "service_role", now_s=made_at_s),
    )


def keys_made_at_s(folder: Path, *, now_s: float) -> int:
    """The moment from which a data folder's keys count: that of the first call, kept there.

    So the keys are the same after every restart.
    """
    file = folder / _MADE_AT
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        write_whole(file, b"%d\n" % now_s)
        return int(now_s)


def mint_token(
    secret: str, role: str, *, now_s: float, lifetime_s: float, claims: Mapping[str, Any]
) -> str:
    """A token for `role`; see `adapters.jwt.sign.sign_token`."""
    return sign_token(secret, role, now_s=now_s, lifetime_s=lifetime_s, claims=claims)
