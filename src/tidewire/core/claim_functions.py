"""Whether the functions of the schema `auth` are the known ones, by their source.

The cheap tiers put the claims themselves in place of these functions. That is right only for
definitions that are known: ours, and those that Supabase has given out.
"""

from __future__ import annotations

from collections.abc import Mapping

_TYPES = {"uid": "uuid", "role": "text", "email": "text"}
_CLAIMS = {"uid": "sub", "role": "role", "email": "email"}
_WHOLE = "nullif(current_setting('request.jwt.claims',true),'')"
_WHOLE_FORMER = "nullif(current_setting('request.jwt.claim',true),'')"


def is_standard(name: str, source: str) -> bool:
    """Whether a function `auth.name()` does what its name promises, in one of the known ways.

    Args:
        name: ``uid``, ``jwt``, ``role`` or ``email``.
        source: Its body, in SQL.
    """
    return _normal(source) in _known_forms(name)


def are_standard(sources: Mapping[str, str]) -> bool:
    """Whether all of `sources` (name to body) are standard. An absent one is never called."""
    return all(is_standard(name, source) for name, source in sources.items())


def _normal(source: str) -> str:
    return "".join(source.lower().split()).rstrip(";")


def _known_forms(name: str) -> frozenset[str]:
    if name == "jwt":
        orders = ((_WHOLE, _WHOLE_FORMER), (_WHOLE_FORMER, _WHOLE))
        return frozenset(f"selectcoalesce({one},{other})::jsonb" for one, other in orders)
    if name not in _CLAIMS:
        return frozenset()
    claim, type_name = _CLAIMS[name], _TYPES[name]
    single = f"nullif(current_setting('request.jwt.claim.{claim}',true),'')"
    value = f"{_WHOLE}::jsonb->>'{claim}'"
    calls = [
        f"selectcoalesce({one},{other})"
        for shown in (value, f"({value})")
        for one, other in ((single, shown), (shown, single))
    ]
    forms = {f"{call}::{type_name}" for call in calls}
    # The setting holds text, so the cast of a text changes nothing.
    return frozenset(forms | set(calls) if type_name == "text" else forms)
