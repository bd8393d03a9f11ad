"""New tokens for open channels. Source: wire specification 3.9."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidewire.core.clock import Clock
from tidewire.core.errors import TokenError, UnavailableError, UnknownKeyError
from tidewire.engine.channel import Channel
from tidewire.engine.expiry import Expiry
from tidewire.engine.rights import Rights
from tidewire.engine.subscriptions import Subscriptions
from tidewire.engine.tasks import TaskSet
from tidewire.ports.token_verifier import TokenVerifier
from tidewire.protocol.phoenix import codes


class TokenRefreshes:
    """Puts new tokens in force, with all that follows from them."""

    def __init__(
        self,
        *,
        subscriptions: Subscriptions,
        rights: Rights,
        verifier: TokenVerifier,
        expiry: Expiry,
        tasks: TaskSet,
        clock: Clock,
        give_up_s: float,
        shut_down: Callable[[Channel, str], None],
    ) -> None:
        """Make it.

        Args:
            subscriptions: See with the eyes of the new token.
            rights: Of private channels, asked for anew.
            verifier: Verifies tokens.
            expiry: Watches when they end.
            tasks: Owns what waits.
            clock: Says what time it is.
            give_up_s: How long a subscription may take to follow a new role.
            shut_down: Closes a channel, saying why.
        """
        self._subscriptions = subscriptions
        self._rights = rights
        self._verifier = verifier
        self._expiry = expiry
        self._tasks = tasks
        self._clock = clock
        self._give_up_s = give_up_s
        self._shut_down = shut_down
        self._late_tokens: dict[Channel, str] = {}
        self._looking: set[Channel] = set()

    def refresh(self, channel: Channel, token: str, *, may_wait: bool = True) -> None:
        """Put a new token in force, or close the channel when it is no good (3.9).

        There is no throttle: verifying costs less than reading the frame did, and a held-back
        token would hold back what it takes away.

        Args:
            channel: Whose.
            token: The new one; opaque keys and the present one are ignored.
            may_wait: Whether a token of an unknown signing key is worth a look for new ones.
        """
        if token.startswith("sb_") or token == channel.token:
            return
        self._late_tokens.pop(channel, None)  # the newest wins
        try:
            claims = self._verifier.verify(token, now_s=self._clock.wall_s())
        except UnknownKeyError as error:
            if may_wait:
                self._refresh_later(channel, token)
            else:
                self._shut_down(channel, str(error))
            return
        except TokenError as error:
            self._shut_down(channel, str(error))
            return
        channel.claims, channel.token = claims, token
        self._expiry.watch(channel)
        self._rights.refresh(channel)
        if channel.group is None:
            return
        if channel.group.role == claims.role:
            self._subscriptions.refresh(channel, channel.group, claims.values)
        else:
            self._tasks.spawn(self._change_role(channel), "change role")

    def _refresh_later(self, channel: Channel, token: str) -> None:
        """Put `token` in force once the signing keys were looked at anew.

        One look at a time for a channel, however many tokens it sends meanwhile.
        """
        self._late_tokens[channel] = token
        if channel in self._looking:
            return
        self._looking.add(channel)

        async def look_and_refresh() -> None:
            try:
                await self._verifier.refresh_keys()
            finally:
                self._looking.discard(channel)
                newest = self._late_tokens.pop(channel, None)
            if newest is not None and channel.is_open:
                self.refresh(channel, newest, may_wait=False)

        self._tasks.spawn(look_and_refresh(), "refresh token")

    async def _change_role(self, channel: Channel) -> None:
        """Bring a channel's subscription to the role of its newest token.

        Several may run at once, one for each token: whichever ends last finds the newest role.
        Until then the channel sees by the role and the claims of one earlier token, never by the
        role of one and the claims of another.
        """
        try:
            async with asyncio.timeout(self._give_up_s):
                while (group := channel.group) is not None and group.role != channel.claims.role:
                    claims = channel.claims
                    successor = await self._subscriptions.set_role(
                        channel, group, claims.role, claims=claims.values
                    )
                    # When another moved the channel meanwhile, `group` is no longer its group.
                    if channel.group is group:
                        channel.group = successor
                if group is not None:
                    # A still newer token of this role may have come while that waited.
                    self._subscriptions.refresh(channel, group, channel.claims.values)
        except (TimeoutError, UnavailableError):
            # The old role must not go on receiving: the client is told and joins again.
            if channel.is_open:
                self._shut_down(channel, codes.INITIALIZING)
