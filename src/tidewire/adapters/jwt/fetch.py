"""One HTTP GET in a thread of its own, so that no name server or peer can hold up the loop.

The thread is a daemon: one that hangs in a look-up of a name does not hold up the end of the
process either, as one of the loop's own pool would.
"""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, cast

CHUNK_BYTES = 65_536


class FetchError(Exception):
    """Nothing usable came; says why."""


async def fetch(url: str, *, deadline_s: float, bytes_max: int) -> bytes:
    """The body of a 200 answer. Redirects are not followed.

    Args:
        url: http or https; certificates are checked.
        deadline_s: Seconds for all of it.
        bytes_max: A longer body is refused.

    Raises:
        FetchError: Another answer, or none in time.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes | FetchError] = loop.create_future()

    def tell(result: bytes | FetchError) -> None:
        if not answer.done():
            answer.set_result(result)

    def work() -> None:
        try:
            result: bytes | FetchError = _get(url, time.monotonic() + deadline_s, bytes_max)
        except (FetchError, OSError, HTTPException, ValueError) as error:
            result = FetchError(str(error) or type(error).__name__)
        _call_soon(loop, lambda: tell(result))

    threading.Thread(target=work, name="tidewire fetch", daemon=True).start()
    try:
        async with asyncio.timeout(deadline_s):
            result = await answer
    except TimeoutError:
        raise FetchError(f"no answer within {deadline_s:g} s") from None
    if isinstance(result, FetchError):
        raise result
    return result


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key set is where the settings say, not where an answer says."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Refuse: urllib then raises the status as an error."""


def _get(url: str, until_s: float, bytes_max: int) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - the settings take http and https only
    opener = urllib.request.build_opener(_NoRedirect)
    timeout_s = max(0.1, until_s - time.monotonic())
    with cast(HTTPResponse, opener.open(request, timeout=timeout_s)) as response:
        if response.status != 200:
            raise FetchError(f"HTTP status {response.status}")
        body = bytearray()
        while chunk := response.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > bytes_max:
                raise FetchError(f"the answer is longer than {bytes_max} bytes")
            if time.monotonic() > until_s:
                raise FetchError("the answer does not end")
        return bytes(body)
