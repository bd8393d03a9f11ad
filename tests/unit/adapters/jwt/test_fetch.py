import asyncio
import time

import pytest

from tests.support.key_server import KeyServer
from tidewire.adapters.jwt.fetch import FetchError, fetch


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


async def get(url: str, *, deadline_s: float = 5.0, bytes_max: int = 1000) -> bytes:
    return await fetch(url, deadline_s=deadline_s, bytes_max=bytes_max)


async def test_the_body_of_a_good_answer_comes_back() -> None:
    with KeyServer(b"x" * 1000) as server:
        assert await get(server.url) == b"x" * 1000


@pytest.mark.parametrize("status", [404, 500, 204, 302])
async def test_any_other_answer_is_no_answer(status: int) -> None:
    with KeyServer() as server, KeyServer(b"elsewhere") as other:
        server.status = status
        server.headers = {"Location": other.url}
        with pytest.raises(FetchError, match=str(status)):
            await get(server.url)
        assert other.asked_s == [], "redirects are not followed"


async def test_a_body_that_is_too_long_is_refused() -> None:
    with KeyServer(b"x" * 1001) as server, pytest.raises(FetchError, match="longer than 1000"):
        await get(server.url)


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    with KeyServer(b"late") as server:
        server.delay_s = 10
        started_s = time.monotonic()
        with pytest.raises(FetchError):
            await get(server.url, deadline_s=0.2)
        assert time.monotonic() - started_s < 2


async def test_nobody_there_is_told() -> None:
    with KeyServer() as server:
        url = server.url
    with pytest.raises(FetchError, match="refused"):
        await get(url)


async def test_the_loop_turns_while_it_waits() -> None:
    with KeyServer(b"late") as server:
        server.delay_s = 0.3
        task = asyncio.create_task(get(server.url))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert await task == b"late"
        assert turns > 5
