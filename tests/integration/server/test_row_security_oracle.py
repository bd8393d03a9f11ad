"""Each subscriber is told exactly what a SELECT under his role and claims shows of each change.

By seed: random policies, users, filters, members, refreshed tokens and policies that change
between transactions, through a whole server, against PostgreSQL itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer
from tests.support.sight_oracle import Someone, World, agrees, expected, heard, random_claims
from tests.support.tables import connect, make_table, unused_name

pytestmark = pytest.mark.postgres

PEOPLE = 5
TRANSACTIONS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[TidewireServer]:
    server = TidewireServer()
    try:
        server.start()
        yield server
        server.check_log()
    finally:
        server.close()


class Watcher:
    """A user's socket, and what came of the table since the last look."""

    def __init__(self, raw: RawSocket, someone: Someone, world: World, marker: str) -> None:
        self.raw = raw
        self.someone = someone
        self.topic = f"realtime:{unused_name('oracle')}"
        self._marker = marker
        self._table = world.table

    async def join(self, token: str) -> None:
        entries = [
            {**self.someone.entry, "table": self._table},
            {"event": "*", "schema": "public", "table": self._marker},
        ]
        _, reply = await self.raw.join(
            self.topic, {"postgres_changes": entries}, access_token=token
        )
        assert reply["status"] == "ok"
        assert (await self.raw.next("system"))[4]["status"] == "ok"

    async def refresh(self, token: str) -> None:
        await self.raw.push(self.topic, "access_token", {"access_token": token})
        await self.raw.heartbeat()

    async def take(self) -> list[Any]:
        """All that came of the table before the marker."""
        frames = await self.raw.frames.until(
            lambda frame: (
                frame[3] == "postgres_changes" and frame[4]["data"]["table"] == self._marker
            )
        )
        data = [frame[4]["data"] for frame in frames[:-1] if frame[3] == "postgres_changes"]
        assert not [frame for frame in frames if frame[3] == "system"]
        return [heard(each) for each in data]


@pytest.mark.parametrize("seed", range(1, 31))
async def test_what_is_told_is_what_a_select_shows(server: TidewireServer, seed: int) -> None:
    rng = random.Random(f"sight {seed}")
    async with AsyncExitStack() as stack:
        database = await connect(server.database_url)
        stack.push_async_callback(database.close)
        world = World(database, unused_name("sight"), rng)
        await world.make()
        marker = await make_table(database)
        watchers = []
        for _ in range(PEOPLE):
            raw = await stack.enter_async_context(raw_socket(server.url, server.anon_key))
            watcher = Watcher(raw, Someone(rng), world, marker)
            await watcher.join(_token(server, watcher.someone))
            watchers.append(watcher)
        for number in range(TRANSACTIONS):
            await _meanwhile(world, server, watchers)
            rows = [await world.rows()]
            pictures = [[await world.picture(w.someone) for w in watchers]]
            done = await world.write()
            rows.append(await world.rows())
            pictures.append([await world.picture(w.someone) for w in watchers])
            await database.execute(f"insert into {marker} values ($1, 'end')", number)
            for watcher, before, after in zip(watchers, *pictures, strict=True):
                got = await watcher.take()
                due = expected(watcher.someone, done, (rows[0], rows[1]), (before, after))
                assert agrees(watcher.someone, got, due), (
                    f"seed {seed}: {watcher.someone.claims} of {done}: {got} instead of {due}"
                )


async def _meanwhile(world: World, server: TidewireServer, watchers: list[Watcher]) -> None:
    """What may happen between two transactions."""
    happening = world.rng.random()
    if happening < 0.2:
        await world.change_members()
    elif happening < 0.4:
        await world.make_policies()
    elif happening < 0.6:
        watcher = world.rng.choice(watchers)
        watcher.someone.claims = random_claims(world.rng)
        await watcher.refresh(_token(server, watcher.someone))


def _token(server: TidewireServer, someone: Someone) -> str:
    claims = {name: value for name, value in someone.claims.items() if name != "role"}
    return server.token("authenticated", **claims)
