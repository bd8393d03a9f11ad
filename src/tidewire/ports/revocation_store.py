"""Keeps which tokens were revoked, beyond the life of a process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec


class Revocation(msgspec.Struct, frozen=True):
    """Tokens that ended before their time.

    With a session: every token that names it. With a user: the user's tokens issued before a
    moment. With neither: all issued before it.

    Attributes:
        session_id: Claim `session_id`, or None.
        user_id: Claim `sub`, or None.
        issued_before_s: Seconds since 1970 UTC; tokens with an earlier `iat`, or without one,
            are meant. Infinite for a session.
        kept_until_s: Seconds since 1970 UTC after which no token that it concerns can be alive.
        id: Names it in its store; 0 before it is there.
    """

    session_id: str | None
    user_id: str | None
    issued_before_s: float
    kept_until_s: float
    id: int = 0


class RevocationStore(Protocol):
    """Revocations that outlive this process, and that others may add to.

    Promise: what `revoke` returned for is found by every later `load`, until nothing that it
    concerns can live.
    """

    async def load(self) -> Sequence[Revocation]:
        """All of them.

        Raises:
            DatabaseUnavailableError: No answer.
            SetupError: There is no place for them in this database.
        """
        ...

    async def find(self, ids: Collection[int]) -> Sequence[Revocation]:
        """Those of `ids` that are there; one that was written a moment ago may come late.

        Raises:
            DatabaseUnavailableError: No answer.
            SetupError: There is no place for them in this database.
        """
        ...

    async def revoke(
        self,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        issued_before_s: float | None = None,
        expires_at_s: float | None = None,
    ) -> Revocation:
        """Keep one more; see `Revocation`.

        Args:
            session_id: A session, for good; nothing else but `expires_at_s` then.
            user_id: A user.
            issued_before_s: None with a session only.
            expires_at_s: When the last token concerned ends by itself; None when nobody knows.

        Raises:
            DatabaseUnavailableError: No answer; it may be there or not.
            SetupError: There is no place for them in this database.
        """
        ...

    async def prune(self) -> int:
        """Forget what no living token needs; gives how many.

        Raises:
            DatabaseUnavailableError: No answer.
            SetupError: There is no place for them in this database.
        """
        ...
