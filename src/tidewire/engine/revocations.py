"""Which tokens were revoked, at hand for every verification."""

from __future__ import annotations

from collections.abc import Iterable

from tidewire.core.errors import TokenError
from tidewire.ports.revocation_store import Revocation
from tidewire.ports.token_verifier import Claims, TokenVerifier
from tidewire.protocol.phoenix import codes

_KEY_ROLES = frozenset({"anon", "service_role"})
_NEVER_S = float("-inf")


class Revocations:
    """All revocations that still concern somebody. Asking costs a few look-ups.

    A token without `iat` counts as older than any moment. A token of `anon` or `service_role`
    that names neither user nor session is a project's key: moments do not end it, or whoever
    signs everybody out would lock out the servers too; it ends with the secret.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, float] = {}
        self._users: dict[str, tuple[float, float]] = {}
        self._all_before_s = _NEVER_S

    def __len__(self) -> int:
        return len(self._sessions) + len(self._users) + (self._all_before_s > _NEVER_S)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Take more of them; one that is known already changes nothing."""
        for one in revocations:
            if one.session_id is not None:
                known_s = self._sessions.get(one.session_id, _NEVER_S)
                self._sessions[one.session_id] = max(known_s, one.kept_until_s)
            elif one.user_id is not None:
                before_s, kept_s = self._users.get(one.user_id, (_NEVER_S, _NEVER_S))
                later = max(before_s, one.issued_before_s), max(kept_s, one.kept_until_s)
                self._users[one.user_id] = later
            else:
                self._all_before_s = max(self._all_before_s, one.issued_before_s)

    def forget_over(self, *, now_s: float) -> None:
        """Drop those whose tokens have all ended."""
        self._sessions = {key: s for key, s in self._sessions.items() if s >= now_s}
        self._users = {key: user for key, user in self._users.items() if user[1] >= now_s}

    def concern(self, claims: Claims) -> bool:
        """Whether a token with these claims was revoked."""
        values = claims.values
        if self._sessions and _text(values.get("session_id")) in self._sessions:
            return True
        before_s = _NEVER_S
        if self._users and (user := _text(values.get("sub"))) in self._users:
            before_s = self._users[user][0]
        if self._all_before_s > before_s and not _is_key(claims):
            before_s = self._all_before_s
        return values.get("iat", _NEVER_S) < before_s


class RevocableVerifier:
    """A `TokenVerifier` that refuses what another one takes when it was revoked."""

    def __init__(self, verifier: TokenVerifier, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def verify(self, token: str, *, now_s: float) -> Claims:
        """See `TokenVerifier.verify`."""
        claims = self._verifier.verify(token, now_s=now_s)
        if len(self._revocations) and self._revocations.concern(claims):
            raise TokenError("InvalidJWTToken", codes.TOKEN_REVOKED)
        return claims

    async def refresh_keys(self) -> None:
        """See `TokenVerifier.refresh_keys`."""
        await self._verifier.refresh_keys()


def _text(claim: object) -> str:
    """A claim that names somebody, as text; "" when it is none."""
    return str(claim) if isinstance(claim, str | int) else ""


def _is_key(claims: Claims) -> bool:
    named = "sub" in claims.values or "session_id" in claims.values
    return claims.role in _KEY_ROLES and not named
