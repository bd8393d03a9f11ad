"""Brings revocations into force: those of the past at the start, and new ones as they are made.

Theory of operation. Whoever revokes writes to the store and sends its id down the change stream.
The stream may be ahead of what queries see by a moment, so an id is asked for until it is there,
`VISIBLE_WITHIN_S` at most. Whenever the stream was interrupted, everything is read anew. Each time
something came, open channels are looked through and the revoked ones closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError, SetupError
from tidewire.engine.channel import Channel
from tidewire.engine.revocations import Revocations
from tidewire.ports.revocation_store import Revocation, RevocationStore
from tidewire.protocol.phoenix import codes

PREFIX = "tidewire.revoke"
VISIBLE_WITHIN_S = 5.0
RETRY_MIN_S, RETRY_MAX_S = 0.01, 2.0
PRUNE_S = 3600.0
IDS_MAX = 10_000
"""Ids waiting to be read; with more, everything is read instead."""

SLICE = 256
"""Channels looked through before others get their turn."""

logger = logging.getLogger(__name__)


class RevocationWatch:
    """Keeps `Revocations` in step with their store, and acts on them."""

    def __init__(
        self,
        store: RevocationStore,
        revocations: Revocations,
        *,
        clock: Clock,
        rng: random.Random,
        channels: Callable[[], Iterable[Channel]],
        shut_down: Callable[[Channel, str], None],
    ) -> None:
        """Make it.

        Args:
            store: Where they are kept.
            revocations: Where they are at hand.
            clock: Says which are over.
            rng: For the jitter of retries.
            channels: Gives all open channels.
            shut_down: Closes one, saying why.
        """
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._rng = rng
        self._channels = channels
        self._shut_down = shut_down
        self._wake = asyncio.Event()
        self._ids: dict[int, float] = {}
        self._wants_all = False

    async def load(self) -> None:
        """Read all of them. Await this before anybody is let in.

        Raises:
            DatabaseUnavailableError: No answer.
        """
        try:
            self._revocations.add(await self._store.load())
        except SetupError as error:
            logger.warning("tokens cannot be revoked: %s", error.problem)

    def on_message(self, content: bytes) -> None:
        """Take the content of a message of `PREFIX`; what is no id is ignored."""
        if content.isdigit() and len(content) < 19:
            self._ids[int(content)] = self._clock.monotonic_s()
            if len(self._ids) > IDS_MAX:
                self._ids.clear()
                self._wants_all = True
            self._wake.set()

    def on_gap(self) -> None:
        """Messages may have been missed: read everything."""
        self._wants_all = True
        self._wake.set()

    async def revoke(
        self,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        issued_before_s: float | None = None,
        expires_at_s: float | None = None,
    ) -> Revocation:
        """Revoke, as `RevocationStore.revoke`; in force here when this returns."""
        made = await self._store.revoke(
            session_id=session_id,
            user_id=user_id,
            issued_before_s=issued_before_s,
            expires_at_s=expires_at_s,
        )
        self._revocations.add([made])
        await self._end_revoked()
        return made

    async def run(self) -> None:
        """Act on what comes until cancelled."""
        while True:
            try:
                async with asyncio.timeout(PRUNE_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._prune()
                continue
            self._wake.clear()
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Read what is waiting, until nothing is."""
        delay_s = RETRY_MIN_S
        while self._wants_all or self._ids:
            before = len(self._ids)
            try:
                if await self._read():
                    await self._end_revoked()
            except DatabaseUnavailableError as error:
                self._wants_all = True
                logger.warning("revocations wait for the database", extra={"reason": str(error)})
            except SetupError as error:
                self._ids.clear()
                logger.warning("tokens cannot be revoked: %s", error.problem)
            if not self._wants_all and len(self._ids) < before:
                delay_s = RETRY_MIN_S
            if self._wants_all or self._ids:
                await asyncio.sleep(delay_s * self._rng.uniform(0.5, 1.0))
                delay_s = min(2 * delay_s, RETRY_MAX_S)

    async def _read(self) -> bool:
        """Read everything or what is waited for; gives whether there was anything."""
        if self._wants_all:
            self._wants_all = False
            found = await self._store.load()
        else:
            found = await self._store.find(list(self._ids))
        for one in found:
            self._ids.pop(one.id, None)
        self._give_up()
        self._revocations.add(found)
        return bool(found)

    def _give_up(self) -> None:
        """Forget ids that never appeared: pruned since, or made up by somebody."""
        now_s = self._clock.monotonic_s()
        over = [i for i, told_s in self._ids.items() if now_s - told_s > VISIBLE_WITHIN_S]
        for number in over:
            del self._ids[number]
            logger.warning("a revocation that was told of is not there", extra={"id": number})

    async def _end_revoked(self) -> None:
        """Close every channel whose token was revoked."""
        ended = 0
        for number, channel in enumerate(list(self._channels()), start=1):
            if channel.is_open and self._revocations.concern(channel.claims):
                self._shut_down(channel, codes.TOKEN_REVOKED)
                ended += 1
            if number % SLICE == 0:
                await asyncio.sleep(0)
        if ended:
            logger.info("channels closed: their tokens were revoked", extra={"channels": ended})

    async def _prune(self) -> None:
        self._revocations.forget_over(now_s=self._clock.wall_s())
        try:
            pruned = await self._store.prune()
        except (DatabaseUnavailableError, SetupError) as error:
            logger.info("revocations are not pruned now", extra={"reason": str(error)})
            return
        if pruned:
            logger.info("pruned revocations", extra={"count": pruned})
