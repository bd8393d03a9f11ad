"""The keys of a server: public ones, all-seeing ones, and tokens for anybody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tidewire.adapters.jwt.api_keys import PUBLISHABLE_PREFIX, SECRET_PREFIX
from tidewire.adapters.jwt.sign import sign_key, sign_token
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.data_folder import write_whole

_MADE_AT = "keys_made_at"
_OPAQUE = {
    "publishable": ("publishable_key", PUBLISHABLE_PREFIX),
    "secret": ("secret_key", SECRET_PREFIX),
}
# What a key says of itself; a setting that demands something else of these cannot be met.
_OWN_CLAIMS = frozenset({"role", "iat", "exp"})


class Keys(NamedTuple):
    """Keys that applications connect with.

    Attributes:
        anon: For visitors; public by nature.
        service_role: Sees everything; stays on servers.
        publishable: As `anon`, but opaque: no JWT. "" for none.
        secret: As `service_role`, but opaque. "" for none.
    """

    anon: str
    service_role: str
    publishable: str = ""
    secret: str = ""


def make_keys(secret: str, *, made_at_s: float, claims: Mapping[str, Any] | None = None) -> Keys:
    """The signed keys of one secret: equal arguments give equal keys.

    Args:
        secret: What they are signed with.
        made_at_s: Seconds since 1970 UTC from which they count.
        claims: What they say besides; see `claims_of_keys`.
    """
    return Keys(
        anon=sign_key(secret, "anon", now_s=made_at_s, claims=claims),
        service_role=sign_key(secret, "service_role", now_s=made_at_s, claims=claims),
    )


def claims_of_keys(auth: AuthSettings) -> dict[str, Any]:
    """What keys must say so that the server's own rules take them."""
    claims = dict(auth.required_claims)
    if auth.audiences:
        claims.setdefault("aud", auth.audiences[0])
    return {name: value for name, value in claims.items() if name not in _OWN_CLAIMS}


def own_opaque_key(folder: Path, kind: str) -> str | None:
    """The opaque key of a data folder, `publishable` or `secret`; None before it was made."""
    name, prefix = _OPAQUE[kind]
    try:
        return prefix + (folder / name).read_text().strip()
    except OSError:
        return None


def with_opaque_keys(keys: Keys, random_text: Callable[[str], str]) -> Keys:
    """`keys` and the opaque ones beside them.

    Args:
        keys: The signed ones.
        random_text: Gives the same secret text for the same name; see `DataFolder.secret`.
    """
    return keys._replace(
        **{kind: prefix + random_text(name) for kind, (name, prefix) in _OPAQUE.items()}
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
