"""Record the messages of a real PostgreSQL for the decoder's tests.

    .venv/bin/python -m tests.vectors.pgoutput.record

starts a PostgreSQL of its own and rewrites `messages.txt` beside this file: one message a line,
in hexadecimal, in the order of the stream.
"""

# ruff: noqa: E501 - tables of cases keep one case a line

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from tests.support.fault_cluster import fault_cluster
from tests.support.stream import SystemClock
from tidewire.adapters.postgres.opening import open_replication
from tidewire.adapters.postgres.replication import (
    ReplicationLimits,
    StreamEvent,
)
from tidewire.adapters.postgres.slot import SlotCommands
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgwire.events import WalData
from tidewire.protocol.pgwire.target import parse_target

FILE = Path(__file__).with_name("messages.txt")
STATEMENTS = """
create type mood as enum ('ok', 'bad')
create table t (id int primary key, v text, m mood, a int[])
create table other (id int primary key)
create publication p for table t, other
"""
WORK = """
insert into t values (1, 'a', 'ok', '{1,NULL}'), (2, null, null, null)
update t set v = 'b' where id = 1
update t set id = 3 where id = 1
alter table t replica identity full
update t set v = 'c' where id = 3
delete from t where id = 3
alter table t replica identity default
delete from t where id = 2
alter table t alter v set storage external
insert into t values (4, repeat('y', 4000))
update t set m = 'bad' where id = 4
begin; insert into other values (1); alter table other add w text; insert into other values (2); commit
select pg_logical_emit_message(true, 'tidewire.a', 'within')
select pg_logical_emit_message(false, 'tidewire.b', 'outside')
truncate t, other restart identity cascade
"""


class _Recorder:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.done = asyncio.Event()

    def stream_started(self) -> None: ...

    def stream_received(self, events: Sequence[StreamEvent]) -> None:
        self.messages += [event.payload for event in events if isinstance(event, WalData)]
        kinds = [message[:1] for message in self.messages]
        if b"T" in kinds and kinds[-1] == b"C":
            self.done.set()


async def record() -> list[bytes]:
    async with fault_cluster(18) as cluster:
        db = await cluster.connect()
        for statement in STATEMENTS.strip().splitlines():
            await db.execute(statement)
        connection = await open_replication(
            parse_target(cluster.url),
            application_name=f"recorder {random.Random(1).random()}",
            clock=SystemClock(),
            limits=ReplicationLimits(),
        )
        commands = SlotCommands("recorder", "p", failover=False)
        await commands.create_slot(connection, timeout_s=10)
        recorder = _Recorder()
        await connection.start_stream(commands.start_statement(Lsn(0)), recorder)
        # An origin, so that its message is there too.
        await db.execute("select pg_replication_origin_create('elsewhere')")
        await db.execute("select pg_replication_origin_session_setup('elsewhere')")
        for statement in WORK.strip().splitlines():
            await db.execute(statement)
        async with asyncio.timeout(10):
            await recorder.done.wait()
        await connection.close()
        await db.close()
        return recorder.messages


def read_messages() -> list[bytes]:
    return [bytes.fromhex(line) for line in FILE.read_text().split()]


if __name__ == "__main__":
    FILE.write_text("".join(message.hex() + "\n" for message in asyncio.run(record())))
