"""Roles, privileges and row security. Source: wire specification 6.4, 6.8."""

from __future__ import annotations

import time

import asyncpg
import pytest

from tests.conformance.test_changes import on
from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer
from tests.support.tables import make_table, unused_name


async def subscribe(raw: RawSocket, table: str, *, token: str | None = None) -> str:
    """Join with one entry on `table`; gives the status of the system message."""
    more = {"access_token": token} if token else {}
    topic = f"realtime:{unused_name('seen')}"
    _, reply = await raw.join(topic, {"postgres_changes": [on(table)]}, **more)
    assert reply["status"] == "ok"
    return (await raw.next("system"))[4]["status"]


async def changes_until(raw: RawSocket, marker: str) -> list[dict]:
    """The data of every change frame up to the first one of table `marker`."""
    frames = await raw.frames.until(
        lambda frame: frame[3] == "postgres_changes" and frame[4]["data"]["table"] == marker
    )
    return [frame[4]["data"] for frame in frames[:-1] if frame[3] == "postgres_changes"]


async def test_a_role_without_select_gets_the_error_and_no_data(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database, roles="service_role")
    marker = await make_table(database)
    async with (
        raw_socket(server.url, server.anon_key) as anon,
        raw_socket(server.url, server.service_key) as service,
    ):
        for raw in (anon, service):
            await subscribe(raw, table)
            assert await subscribe(raw, marker) == "ok"
        await database.execute(f"insert into {table} values (1, 'secret')")
        await database.execute(f"update {table} set name = 'more secret'")
        await database.execute(f"delete from {table}")
        await database.execute(f"insert into {marker} values (1, 'end')")
        assert [data["type"] for data in await changes_until(service, marker)] == [
            "INSERT",
            "UPDATE",
            "DELETE",
        ]
        for data in await changes_until(anon, marker):
            assert data["errors"] == ["Error 401: Unauthorized"]
            assert not data.get("record")
            assert not data.get("old_record")
        assert not [text for text in anon.raw if "secret" in text]


async def test_columns_without_select_are_left_out(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(
        database, "id int primary key, open text, hidden text", roles="", full_identity=True
    )
    await database.execute(f"grant select (id, open) on {table} to anon")
    async with raw_socket(server.url, server.anon_key) as raw:
        assert await subscribe(raw, table) == "ok"
        await database.execute(f"insert into {table} values (1, 'a', 'secret')")
        await database.execute(f"update {table} set open = 'b', hidden = 'secret too'")
        await database.execute(f"delete from {table}")
        insert, update, delete = [(await raw.next("postgres_changes"))[4]["data"] for _ in range(3)]
        assert insert["record"] == {"id": 1, "open": "a"}
        assert [column["name"] for column in insert["columns"]] == ["id", "open"]
        assert update["old_record"] == {"id": 1, "open": "a"}
        assert delete["old_record"] == {"id": 1, "open": "b"}
        assert not [text for text in raw.raw if "secret" in text]


async def test_a_filter_on_a_hidden_column_is_refused(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database, "id int primary key, hidden int", roles="")
    await database.execute(f"grant select (id) on {table} to anon")
    async with raw_socket(server.url, server.anon_key) as raw:
        entry = on(table, filter="hidden=gt.5")
        await raw.join("realtime:peek", {"postgres_changes": [entry]})
        system = await raw.next("system")
        assert system[4]["status"] == "error"
        assert "invalid column for filter hidden" in system[4]["message"]


async def test_a_row_reaches_those_whom_its_policies_show_it_to(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(
        database, "id int primary key, owner uuid", row_security=True, full_identity=True
    )
    await database.execute(
        f"create policy own on {table} for select to authenticated using (owner = auth.uid())"
    )
    marker = await make_table(database)
    one, other = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
    tokens = [server.token("authenticated", sub=sub) for sub in (one, other)]
    async with (
        raw_socket(server.url, server.anon_key) as anon,
        raw_socket(server.url, server.anon_key) as owner,
        raw_socket(server.url, server.anon_key) as stranger,
        raw_socket(server.url, server.service_key) as service,
    ):
        viewers = (anon, owner, stranger, service)
        for raw, token in zip(viewers, (None, *tokens, None), strict=True):
            await subscribe(raw, table, token=token)
            assert await subscribe(raw, marker, token=token) == "ok"
        await database.execute(f"insert into {table} values (1, '{one}')")
        await database.execute(f"delete from {table}")
        await database.execute(f"insert into {marker} values (1, 'end')")
        for raw in (owner, service):
            assert [data["type"] for data in await changes_until(raw, marker)] == [
                "INSERT",
                "DELETE",
            ]
        for raw in (anon, stranger):
            assert await changes_until(raw, marker) == []
            assert not [text for text in raw.raw if one in text]


async def test_row_security_switched_on_while_running_stops_delivery(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table, marker = await make_table(database), await make_table(database)
    async with raw_socket(server.url, server.anon_key) as raw:
        assert await subscribe(raw, table) == "ok"
        assert await subscribe(raw, marker) == "ok"
        await database.execute(f"insert into {table} values (1, 'open')")
        assert (await raw.next("postgres_changes"))[4]["data"]["record"]["name"] == "open"
        await database.execute(f"alter table {table} enable row level security")
        await _settle(raw, database, marker)
        await database.execute(f"insert into {table} values (2, 'secret')")
        await database.execute(f"insert into {marker} values (-1, 'end')")
        await raw.frames.until(
            lambda frame: (
                frame[3] == "postgres_changes"
                and frame[4]["data"].get("record") == {"id": -1, "name": "end"}
            )
        )
        assert not [text for text in raw.raw if "secret" in text]


async def test_a_grant_taken_away_while_running_stops_delivery(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table, marker = await make_table(database), await make_table(database)
    async with raw_socket(server.url, server.anon_key) as raw:
        assert await subscribe(raw, table) == "ok"
        assert await subscribe(raw, marker) == "ok"
        await database.execute(f"revoke select on {table} from anon")
        await _settle(raw, database, marker)
        await database.execute(f"insert into {table} values (2, 'secret')")
        await database.execute(f"insert into {marker} values (-1, 'end')")
        await raw.frames.until(
            lambda frame: (
                frame[3] == "postgres_changes"
                and frame[4]["data"].get("record") == {"id": -1, "name": "end"}
            )
        )
        assert not [text for text in raw.raw if "secret" in text]


async def _settle(raw: RawSocket, database: asyncpg.Connection, marker: str) -> None:
    """Let the promised second pass, with changes flowing as the promise asks."""
    deadline = time.monotonic() + 1.2
    number = 0
    while time.monotonic() < deadline:
        number += 1
        await database.execute(f"insert into {marker} values ($1, 'pass')", number)
        await raw.next("postgres_changes")


@pytest.mark.parametrize("role", ["no_such_role", 'x"; reset role; --', "PUBLIC"])
async def test_a_role_that_does_not_exist_sees_nothing(
    server: TidewireServer, database: asyncpg.Connection, role: str
) -> None:
    table = await make_table(database, roles="service_role")
    marker = await make_table(database)
    async with (
        raw_socket(server.url, server.anon_key) as raw,
        raw_socket(server.url, server.anon_key) as other,
    ):
        config = {"postgres_changes": [on(table)]}
        await raw.join("realtime:strange", config, access_token=server.token(role))
        await other.join("realtime:marker", {"postgres_changes": [on(marker)]})
        await other.next("system")
        await database.execute(f"insert into {table} values (1, 'secret')")
        await database.execute(f"insert into {marker} values (1, 'end')")
        await other.next("postgres_changes")
        await raw.heartbeat()
        assert not [text for text in raw.raw if "secret" in text]


async def test_a_refreshed_token_changes_what_is_seen(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database, roles="authenticated")
    topic = f"realtime:{unused_name('grown')}"
    async with raw_socket(server.url, server.anon_key) as raw:
        await raw.join(topic, {"postgres_changes": [on(table)]})
        await raw.next("system")
        grown = {"access_token": server.token("authenticated")}
        await raw.push(topic, "access_token", grown)
        await raw.heartbeat()
        for number in range(30):
            await database.execute(f"insert into {table} values ({number}, 'x')")
            try:
                data = (await raw.next("postgres_changes", within_s=0.15))[4]["data"]
            except AssertionError:
                continue
            if data["errors"] is None:
                assert data["record"]["name"] == "x"
                return
        raise AssertionError("the new token's role never counted")
