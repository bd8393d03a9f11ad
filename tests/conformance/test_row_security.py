"""Row security through unmodified clients: who is told what, old rows too."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import pytest

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer
from tests.support.stock import StockChannel
from tests.support.tables import make_table, unused_name

ANN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
BOB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
RLS_ERROR = "Error 500: Internal Server Error, RLS policy evaluation failed"
END = 99
OWN = "owner = auth.uid()"


class Witness:
    """Somebody whom nothing is hidden from, to wait until a change was carried out.

    The catalogue is read as it is, not as it was: a test that alters it twice has to wait
    until what stands between was delivered.
    """

    def __init__(self, raw: RawSocket) -> None:
        self._raw = raw

    async def watch(self, table: str) -> None:
        entry = {"event": "*", "schema": "public", "table": table}
        await self._raw.join(f"realtime:{table}", {"postgres_changes": [entry]})
        assert (await self._raw.next("system"))[4]["status"] == "ok"

    async def wait_for(self, id_: int) -> None:
        await self._raw.frames.next(
            lambda frame: (
                frame[3] == "postgres_changes"
                and frame[4]["data"].get("record", {}).get("id") == id_
            )
        )


@pytest.fixture
async def witness(server: TidewireServer) -> AsyncGenerator[Witness]:
    async with raw_socket(server.url, server.service_key) as raw:
        yield Witness(raw)


async def make_guarded(
    database: asyncpg.Connection, policy: str = OWN, *, full: bool = True
) -> str:
    """A table whose rows belong to people; `authenticated` sees what the policy says."""
    table = await make_table(
        database,
        "id int primary key, owner uuid, note text",
        row_security=True,
        full_identity=full,
    )
    await database.execute(
        f"create policy p on {table} for select to authenticated using ({policy})"
    )
    return table


async def person(
    stock: MakeClient, server: TidewireServer, table: str, sub: str, **claims: Any
) -> StockChannel:
    """Someone signed in, subscribed to the table."""
    client = await stock()
    await client.set_auth(server.token("authenticated", sub=sub, **claims))
    entry = {"event": "*", "schema": "public", "table": table}
    channel = await client.channel(unused_name("rows"), changes=[entry])
    await channel.subscribe()
    return channel


async def told(database: asyncpg.Connection, table: str, *people: StockChannel) -> list[list[Any]]:
    """What each of ANN and BOB was told until now: (type, id of the new row, old row)."""
    for number, owner in enumerate((ANN, BOB)):
        await database.execute(f"insert into {table} values ({END + number}, '{owner}', 'end')")
    changes = []
    for who in people:
        until = await who.changes.until(lambda change: change["new"].get("note") == "end")
        changes.append([(c["type"], c["new"].get("id"), c["old"]) for c in until[:-1]])
    return changes


async def test_each_sees_his_own_rows_and_no_more(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database)
    ann = await person(stock, server, table, ANN)
    bob = await person(stock, server, table, BOB)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'a'), (2, '{BOB}', 'b')")
    await database.execute(f"update {table} set note = 'c' where id = 2")
    await database.execute(f"delete from {table}")
    of_ann, of_bob = await told(database, table, ann, bob)
    assert of_ann == [
        ("INSERT", 1, {}),
        ("DELETE", None, {"id": 1, "owner": ANN, "note": "a"}),
    ]
    assert of_bob == [
        ("INSERT", 2, {}),
        ("UPDATE", 2, {"id": 2, "owner": BOB, "note": "b"}),
        ("DELETE", None, {"id": 2, "owner": BOB, "note": "c"}),
    ]


async def test_an_update_that_moves_a_row_shows_the_new_owner_nothing_of_the_old(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'of ann')")
    ann = await person(stock, server, table, ANN)
    bob = await person(stock, server, table, BOB)
    await database.execute(f"update {table} set owner = '{BOB}', note = 'of bob'")
    of_ann, of_bob = await told(database, table, ann, bob)
    assert of_ann == []
    assert of_bob == [("UPDATE", 1, {})]


async def test_under_the_default_identity_a_delete_tells_its_key_to_everyone(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database, full=False)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'of ann')")
    bob = await person(stock, server, table, BOB)
    await database.execute(f"delete from {table}")
    (of_bob,) = await told(database, table, bob)
    assert of_bob == [("DELETE", None, {"id": 1})]


async def test_membership_in_another_table_counts_and_its_end_at_once(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    members = await make_table(database, "sub uuid primary key", publish=False)
    table = await make_guarded(
        database, f"{OWN} or exists (select from {members} m where m.sub = auth.uid())"
    )
    ann = await person(stock, server, table, ANN)
    await database.execute(f"insert into {table} values (1, '{BOB}', 'before')")
    await database.execute(f"insert into {table} values (2, '{ANN}', 'between')")
    await ann.changes.next(lambda change: change["new"].get("id") == 2)
    await database.execute(f"insert into {members} values ('{ANN}')")
    await database.execute(f"insert into {table} values (3, '{BOB}', 'member')")
    await ann.changes.next(lambda change: change["new"].get("id") == 3)
    await database.execute(f"delete from {members}")
    await database.execute(f"insert into {table} values (4, '{BOB}', 'after')")
    assert await told(database, table, ann) == [[]]


async def test_a_claim_that_makes_the_policy_raise_fails_its_own_user_only(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database, "(auth.jwt() ->> 'level')::int >= 0")
    good = await person(stock, server, table, ANN, level="1")
    bad = await person(stock, server, table, BOB, level="high")
    await database.execute(f"insert into {table} values (1, '{ANN}', 'secret')")
    assert (await good.changes.next())["new"]["note"] == "secret"
    failed = await bad.changes.next()
    assert (failed["errors"], failed["new"], failed["old"]) == ([RLS_ERROR], {}, {})
    assert failed["commit_timestamp"]


async def test_a_policy_that_is_changed_while_subscribed_counts_from_its_place_on(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection, witness: Witness
) -> None:
    table = await make_guarded(database)
    ann = await person(stock, server, table, ANN)
    await witness.watch(table)
    await database.execute(f"insert into {table} values (1, '{BOB}', 'hidden')")
    await witness.wait_for(1)
    await database.execute(f"alter policy p on {table} using (owner <> '{ANN}')")
    await database.execute(f"insert into {table} values (2, '{BOB}', 'x'), (3, '{ANN}', 'hidden')")
    await witness.wait_for(3)
    await database.execute(f"drop policy p on {table}")
    await database.execute(f"insert into {table} values (4, '{BOB}', 'nobody sees this')")
    await witness.wait_for(4)
    await database.execute(f"create policy p on {table} for select to authenticated using ({OWN})")
    assert await told(database, table, ann) == [[("INSERT", 2, {})]]


async def test_a_grant_that_is_taken_away_while_subscribed_hides_the_column_at_once(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection, witness: Witness
) -> None:
    table = await make_guarded(database)
    ann = await person(stock, server, table, ANN)
    await witness.watch(table)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'secret')")
    await witness.wait_for(1)
    await database.execute(
        f"revoke select on {table} from authenticated; "
        f"grant select (id, owner) on {table} to authenticated"
    )
    await database.execute(f"update {table} set note = 'secret too', id = 2")
    await witness.wait_for(2)
    await database.execute(f"revoke select (id, owner) on {table} from authenticated")
    await database.execute(f"update {table} set note = 'most secret', id = 3")
    await witness.wait_for(3)
    inserted, updated, refused = [await ann.changes.next() for _ in range(3)]
    assert inserted["new"] == {"id": 1, "owner": ANN, "note": "secret"}
    assert updated["new"] == {"id": 2, "owner": ANN}
    assert updated["old"] == {"id": 1, "owner": ANN}
    assert refused["errors"] == ["Error 401: Unauthorized"]
    assert refused["new"] == refused["old"] == {}


async def test_a_refreshed_token_of_another_user_sees_by_its_own_claims(
    stock: MakeClient, server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database)
    client = await stock()
    await client.set_auth(server.token("authenticated", sub=ANN))
    entry = {"event": "*", "schema": "public", "table": table}
    channel = await client.channel(unused_name("refreshed"), changes=[entry])
    await channel.subscribe()
    await database.execute(f"insert into {table} values (1, '{ANN}', 'x'), (2, '{BOB}', 'x')")
    assert (await channel.changes.next())["new"]["id"] == 1
    await client.set_auth(server.token("authenticated", sub=BOB))
    await channel.send("after the token", {})  # carried out behind it, on the same socket
    for number in range(3, 200):
        await database.execute(
            f"insert into {table} values ({2 * number}, '{ANN}', 'x'), "
            f"({2 * number + 1}, '{BOB}', 'x')"
        )
        change = await channel.changes.next()
        if change["new"]["owner"] == BOB:
            assert change["new"]["id"] == 2 * number + 1
            return
    raise AssertionError("the new token never counted")


# ------------------------------------------------------------ leaves, which stock clients skip


async def raw_person(
    raw: RawSocket, server: TidewireServer, table: str, sub: str, **entry: Any
) -> None:
    request = {"event": "*", "schema": "public", "table": table, **entry}
    _, reply = await raw.join(
        f"realtime:{unused_name('leaves')}",
        {"postgres_changes": [request]},
        access_token=server.token("authenticated", sub=sub),
    )
    assert reply["response"]["postgres_changes"][0].items() >= request.items()
    assert (await raw.next("system"))[4]["status"] == "ok"


async def test_a_row_that_leaves_sight_or_filter_is_told_to_those_who_ask(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_guarded(database)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'open')")
    async with (
        raw_socket(server.url, server.anon_key) as ann,
        raw_socket(server.url, server.anon_key) as bob,
    ):
        await raw_person(ann, server, table, ANN, leaves=True, filter="note=eq.open")
        await raw_person(bob, server, table, BOB, leaves=True)
        await database.execute(f"update {table} set note = 'done'")
        await database.execute(f"update {table} set note = 'open'")
        await database.execute(f"update {table} set owner = '{BOB}'")
        seen = [(await ann.next("postgres_changes"))[4]["data"] for _ in range(3)]
        assert [(data["type"], data.get("left"), data.get("entered")) for data in seen] == [
            ("DELETE", True, None), ("UPDATE", None, True), ("DELETE", True, None)
        ]  # fmt: skip
        assert seen[0]["old_record"] == seen[2]["old_record"] == {"id": 1}
        assert seen[1]["old_record"]["note"] == "done"
        (came,) = [(await bob.next("postgres_changes"))[4]["data"]]
        assert (came["type"], came["entered"], came["old_record"]) == ("UPDATE", True, {})


@pytest.mark.parametrize("role", ["service_role", "postgres"])
async def test_a_role_that_row_security_does_not_bind_sees_whole_deleted_rows(
    server: TidewireServer, database: asyncpg.Connection, role: str
) -> None:
    table = await make_guarded(database)
    await database.execute(f"insert into {table} values (1, '{ANN}', 'x')")
    async with raw_socket(server.url, server.anon_key) as raw:
        entry = {"event": "*", "schema": "public", "table": table}
        token = server.token(role)
        await raw.join("realtime:all", {"postgres_changes": [entry]}, access_token=token)
        await raw.next("system")
        await database.execute(f"delete from {table}")
        data = (await raw.next("postgres_changes"))[4]["data"]
        assert data["old_record"] == {"id": 1, "owner": ANN, "note": "x"}
