"""Signing keys from a JWKS address, kept up to date.

Theory of operation. `run` is the only one that fetches. It fetches at the start, then every
`refresh_s`; after a failure sooner, with growing pauses. `refresh`, called when a token names
an unknown key, asks it for a fetch and waits for the end of the next one. However many ask,
two fetches begin at least `REFETCH_S` apart, and whoever asks waits `REFRESH_DEADLINE_S` at
most: less than the ten seconds after which stock clients give a join up.

Keys of the last good answer stay in force while the address does not answer, for `stale_s`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from tidewire.adapters.jwt.fetch import FetchError, fetch
from tidewire.adapters.jwt.keys import KeySet, VerificationKey, read_key_set
from tidewire.core.clock import Clock

REFETCH_S = 5.0
FETCH_DEADLINE_S = 3.0
REFRESH_DEADLINE_S = 8.5
ANSWER_BYTES_MAX = 1 << 20
RETRY_MIN_S, RETRY_MAX_S = 5.0, 60.0
WAITING_MAX = 4096
"""Callers that wait at once; whoever comes beyond does not wait, and is refused."""

logger = logging.getLogger(__name__)


class Fetch(Protocol):
    """Fetches an address; see `fetch.fetch`."""

    def __call__(self, url: str, *, deadline_s: float, bytes_max: int) -> Awaitable[bytes]:
        """The body, or `FetchError`."""
        ...


class KeyUrl:
    """A `KeySource` on an address. Holds no keys until `run` has fetched them."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        rng: random.Random,
        refresh_s: float,
        stale_s: float,
        get: Fetch = fetch,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make it.

        Args:
            url: Where the JWKS is.
            clock: For the age of what was fetched.
            rng: For the jitter of pauses.
            refresh_s: Seconds between fetches while all is well.
            stale_s: Seconds for which keys outlive the last good answer.
            get: Fetches.
            sleep: Waits.
        """
        self.keys: Sequence[VerificationKey] = ()
        self.looks = 0
        self.on_change: Callable[[], None] = lambda: None
        self._url = url
        self._shown = _without_secrets(url)
        self._clock = clock
        self._rng = rng
        self._refresh_s = refresh_s
        self._stale_s = stale_s
        self._get = get
        self._sleep = sleep
        self._document: bytes | None = None
        self._good_s = clock.monotonic_s()
        self._failures = 0
        self._wanted = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()

    async def refresh(self) -> None:
        """Have the keys fetched; ends when they are, or after `REFRESH_DEADLINE_S`."""
        if len(self._waiting) >= WAITING_MAX:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(done)
        self._wanted.set()
        try:
            async with asyncio.timeout(REFRESH_DEADLINE_S):
                await done
        except TimeoutError:
            return
        finally:
            self._waiting.discard(done)

    async def run(self) -> None:
        """Fetch now, from time to time, and when asked to, until cancelled."""
        while True:
            began_s = self._clock.monotonic_s()
            await self._fetch()
            await self._pause()
            early_s = began_s + REFETCH_S - self._clock.monotonic_s()
            if early_s > 0:
                await self._sleep(early_s)

    async def _pause(self) -> None:
        """Wait until a fetch is due or wanted."""
        pause_s = self._refresh_s
        if self._failures:
            grown_s = RETRY_MIN_S * 2.0 ** min(self._failures - 1, 10)
            pause_s = min(grown_s, RETRY_MAX_S, self._refresh_s) * self._rng.uniform(0.8, 1.0)
        try:
            async with asyncio.timeout(pause_s):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _fetch(self) -> None:
        where = {"url": self._shown}
        try:
            document = await self._get(
                self._url, deadline_s=FETCH_DEADLINE_S, bytes_max=ANSWER_BYTES_MAX
            )
            found = None if document == self._document else read_key_set(document)
        except (FetchError, ValueError) as error:
            self._failures += 1
            logger.warning("signing keys cannot be fetched: %s", error, extra=where)
            self._drop_stale()
        else:
            self._failures = 0
            self._good_s = self._clock.monotonic_s()
            if found is not None:
                self._take(found)
                self._document = document
        self.looks += 1
        self._wanted.clear()
        for done in self._waiting:
            if not done.done():
                done.set_result(None)

    def _take(self, found: KeySet) -> None:
        where = {"url": self._shown, "keys": len(found.keys)}
        for problem in found.problems:
            logger.warning("fetched signing keys: %s", problem, extra=where)
        self.keys = found.keys
        logger.info("fetched signing keys", extra=where)
        self.on_change()

    def _drop_stale(self) -> None:
        """Stop trusting keys that nobody confirmed for too long."""
        if self.keys and self._clock.monotonic_s() - self._good_s > self._stale_s:
            self.keys, self._document = (), None
            logger.error("signing keys dropped: they cannot be fetched", extra={"url": self._shown})
            self.on_change()


def _without_secrets(url: str) -> str:
    """The address for a log: no sign-in, no query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
