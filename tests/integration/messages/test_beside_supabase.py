"""What exists already is left alone; what cannot be made is told and harms nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tidewire.adapters.postgres.message_store import PostgresMessageStore
from tidewire.adapters.postgres.messages_publication import MESSAGES_PUBLICATION
from tidewire.adapters.postgres.migrations import migrate_with_report
from tidewire.core.message import PayloadEncoding
from tidewire.ports.message_store import NewMessage

pytestmark = pytest.mark.postgres

SUPABASE = """
create schema realtime;
create table realtime.messages (
  topic text not null, extension text not null, payload jsonb, event text,
  private boolean default false, updated_at timestamp not null default now(),
  inserted_at timestamp not null default now(), id uuid not null default gen_random_uuid(),
  primary key (id, inserted_at)
) partition by range (inserted_at);
create function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language plpgsql as $$ begin raise notice 'theirs'; end $$;
"""
DAYS = "select count(*) from pg_inherits where inhparent = 'realtime.messages'::regclass"
HAS_DEFAULT = "select to_regclass('realtime.messages_default') is not null"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_functions_that_exist_are_left_alone_and_ours_warn_beside_them(
    db: asyncpg.Connection, database_url: str
) -> None:
    await db.execute(SUPABASE)
    await migrate_with_report(database_url)
    notices: list[str] = []
    db.add_log_listener(lambda _, message: notices.append(message.message))
    await db.execute("select realtime.send('{}', 'e', 't')")
    await db.execute("select realtime.send_binary('\\x01', null, 't')")
    assert notices == ["theirs", "WarnSendingBroadcastMessage: the event is null"]


async def test_an_older_table_is_replayed_from_and_not_kept_into(
    db: asyncpg.Connection, database_url: str
) -> None:
    await db.execute(SUPABASE)
    await migrate_with_report(database_url)
    await db.execute(
        "insert into realtime.messages (topic, extension, event, payload, private, inserted_at)"
        """ values ('t', 'broadcast', 'e', '{"x":1}', true, now() at time zone 'utc')"""
    )
    store = PostgresMessageStore(database_url)
    (found,) = await store.recent("t", since_ms=0, limit=5)
    assert found.body == b'{"x": 1}'
    new = NewMessage(found.id, "t", "e", b"{}", PayloadEncoding.JSON, 1e9, 60)
    assert await store.insert([new]) == frozenset()
    await store.close()


async def test_somebody_elses_table_gets_days_but_no_default_partition(
    db: asyncpg.Connection, database_url: str
) -> None:
    await db.execute(f"{SUPABASE}; drop role if exists their_admin; create role their_admin;"
                     "grant usage, create on schema realtime to their_admin;"
                     "alter table realtime.messages owner to their_admin")  # fmt: skip
    await migrate_with_report(database_url)
    assert not await db.fetchval(HAS_DEFAULT)
    assert await db.fetchval(DAYS) == 5
    await db.execute("drop schema realtime cascade; drop owned by their_admin")
    await db.execute("drop role their_admin")


async def test_where_nothing_of_ours_could_be_made_there_is_nothing_to_look_after(
    database_url: str,
) -> None:
    store = PostgresMessageStore(database_url)
    assert (await store.keep(retention_days=3, payload_bytes_max=1000)).startswith("nothing")
    await store.close()


async def test_the_limit_of_payloads_is_told_to_those_who_send(
    db: asyncpg.Connection, database_url: str
) -> None:
    await migrate_with_report(database_url)
    store = PostgresMessageStore(database_url)
    await store.keep(retention_days=3, payload_bytes_max=1000)
    await store.close()
    with pytest.raises(asyncpg.InvalidParameterValueError, match="1000 are allowed"):
        await db.execute(
            "select realtime.send(jsonb_build_object('x', repeat('x', 1000)), 'e', 't')"
        )


async def test_a_publication_that_was_dropped_comes_back(
    db: asyncpg.Connection, migrated_database_url: str, database_url: str
) -> None:
    await migrate_with_report(database_url)
    await db.execute(f"drop publication {MESSAGES_PUBLICATION}")
    assert (await migrate_with_report(database_url)).notes == []
    row = await db.fetchrow(
        "select pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot from pg_publication"
        " where pubname = $1",
        MESSAGES_PUBLICATION,
    )
    assert tuple(row or ()) == (True, False, False, False, True)


async def test_without_the_right_the_feature_is_off_and_said_to_be(
    db: asyncpg.Connection, database_url: str
) -> None:
    await migrate_with_report(database_url)
    await db.execute(f"drop publication {MESSAGES_PUBLICATION}; create role their_admin;"
                     "alter table realtime.messages owner to their_admin;"
                     "create role narrow login password 'narrow' replication;"
                     "grant usage on schema realtime to narrow;"
                     "grant select on realtime.tidewire_migrations to narrow")  # fmt: skip
    address = database_url.partition("@")[2]
    report = await migrate_with_report(f"postgresql://narrow:narrow@{address}")
    assert "broadcasts_from_sql_off" in {note.code for note in report.notes}
    await db.execute("drop owned by narrow, their_admin cascade; drop role narrow, their_admin")
