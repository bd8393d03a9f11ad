"""Many clients that come and go while rows are written, the table altered and PostgreSQL killed.

By seed: every row whose insert began after a client's join was answered, and which was committed
before the client looks, reaches it exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator

import asyncpg
import pytest

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(90)]

CLIENTS, WRITERS, ROUNDS, SHARDS = 16, 2, 4, 3
ARRIVAL_DEADLINE_S = 20.0
JOIN_DEADLINE_S = 12.0
COME_BACK_S = 0.2
"""After a join that was refused, as clients do."""


@pytest.fixture
def server() -> Iterator[TidewireServer]:
    server = TidewireServer()
    server.start()
    yield server
    server.check_log()
    server.close()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncGenerator[asyncpg.Connection]:
    """A connection, as soon as the database takes one."""
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
            break
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)  # nothing tells when a killed server is back
    try:
        yield connection
    finally:
        connection.terminate()


class Storm:
    """What was written, and by whom it must have been received."""

    def __init__(self, server: TidewireServer, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.begun = 0
        self.committed: dict[int, int] = {}
        self.is_over = False
        self.rounds = 0

    async def write(self, number: int) -> None:
        """Insert in transactions of 1 to 20 rows until it is over; a lost one does not count."""
        rng = random.Random(f"{self.seed} writer {number}")
        while not self.is_over:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with connected(self.server.database_url) as connection:
                    while not self.is_over:
                        await self._write_once(connection, rng)

    async def _write_once(self, connection: asyncpg.Connection, rng: random.Random) -> None:
        first, self.begun = self.begun + 1, self.begun + rng.choice([1, 1, 2, 20])
        rows = [(id_, rng.randrange(SHARDS)) for id_ in range(first, self.begun + 1)]
        async with connection.transaction():
            await connection.executemany("insert into storm (id, shard) values ($1, $2)", rows)
        self.committed.update(rows)
        if rng.random() < 0.05:
            await connection.execute(f"alter table storm add column c{first} int default 1")
            await connection.execute(f"alter table storm drop column c{first}")

    async def come_and_go(self, number: int) -> None:
        """Join, look, leave, some times over, on one socket."""
        rng = random.Random(f"{self.seed} client {number}")
        vsn = rng.choice(["1.0.0", "2.0.0"])
        async with raw_socket(self.server.url, self.server.anon_key, vsn=vsn) as socket:
            answered = 0
            while answered < ROUNDS:
                if await self._round(socket, rng):
                    answered += 1
                else:
                    await asyncio.sleep(COME_BACK_S)

    async def _round(self, socket: RawSocket, rng: random.Random) -> bool:
        """Whether the join was answered with ok; else the database is away for the moment."""
        topic, shard = f"realtime:{rng.randrange(4)}", rng.choice([None, *range(SHARDS)])
        entry = {"event": "INSERT", "schema": "public", "table": "storm"}
        if shard is not None:
            entry["filter"] = rng.choice([f"shard=eq.{shard}", f"shard=in.({shard})"])
        async with asyncio.timeout(JOIN_DEADLINE_S):
            join_ref, reply = await socket.join(topic, {"postgres_changes": [entry]})
        if reply["status"] != "ok":
            return False
        began_behind = self.begun
        await asyncio.sleep(rng.random())  # rows come meanwhile
        wanted = {
            id_
            for id_, of_shard in self.committed.items()
            if id_ > began_behind and shard in (None, of_shard)
        }
        received: Counter[int] = Counter()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_DEADLINE_S):
                while not wanted <= received.keys():
                    received = received_ids(socket, topic)
                    await asyncio.sleep(0.02)
        assert wanted <= received.keys(), f"lost: {sorted(wanted - received.keys())[:9]}"
        twice = [id_ for id_, count in received.items() if count > 1 and id_ > began_behind]
        assert not twice, f"twice: {twice[:9]}"
        await socket.ask(topic, "phx_leave", {}, join_ref=join_ref)
        socket.raw.clear()
        self.rounds += bool(wanted)
        return True


def received_ids(socket: RawSocket, topic: str) -> Counter[int]:
    """Ids of the rows that came on a topic since `raw` was cleared."""
    ids: Counter[int] = Counter()
    for text in socket.raw:
        frame = json.loads(text)
        event, name, payload = (
            (frame[3], frame[2], frame[4])
            if isinstance(frame, list)
            else (frame["event"], frame["topic"], frame["payload"])
        )
        if event == "postgres_changes" and name == topic:
            ids[payload["data"]["record"]["id"]] += 1
    return ids


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_row_behind_an_answered_join_arrives_exactly_once(
    server: TidewireServer, seed: int
) -> None:
    async with connected(server.database_url) as connection:
        await connection.execute("""
            create table storm (id bigint primary key, shard int);
            grant select on storm to anon;
            alter publication supabase_realtime add table storm;
        """)
    storm = Storm(server, seed)
    writers = [asyncio.create_task(storm.write(number)) for number in range(WRITERS)]
    clients = [asyncio.create_task(storm.come_and_go(number)) for number in range(CLIENTS)]
    try:
        await asyncio.sleep(1.0)  # in the middle of it
        await asyncio.to_thread(server.kill_postgres)
        await asyncio.gather(*clients)
    finally:
        storm.is_over = True
        for client in clients:
            client.cancel()
        await asyncio.gather(*writers, *clients, return_exceptions=True)
    assert storm.rounds > CLIENTS
