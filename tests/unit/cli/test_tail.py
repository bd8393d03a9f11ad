import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.support.fake_realtime import FakeRealtime, fake_realtime, refuse_join, system

TIDEWIRE = Path(sys.executable).with_name("tidewire")
DEADLINE_S = 15.0


def change(number: int, **more: Any) -> dict[str, Any]:
    data = {
        "type": "INSERT",
        "schema": "public",
        "table": "trips",
        "commit_timestamp": "2026-11-22T18:00:00.123456+00:00",
        "columns": [{"name": "id", "type": "int8"}, {"name": "price", "type": "numeric"}],
        "record": {"id": number, "price": 12.50},
        "errors": None,
        **more,
    }
    return {"ids": [1], "data": data}


@asynccontextmanager
async def tailing(
    server: FakeRealtime, *arguments: str, joined: bool = True
) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        TIDEWIRE, "tail", "trips", "--url", server.url, "--key", "k", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if joined:
            await wait_for_text(process, "listening to")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def wait_for_text(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while True:
            line = (await process.stderr.readline()).decode()
            assert line, f"the command ended without saying {text!r}"
            if text in line:
                return line


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        return (await process.stdout.readline()).decode()


async def exit_code(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(DEADLINE_S):
        return await process.wait()


def topic_of(server: FakeRealtime) -> str:
    return server.frames("phx_join")[-1][2]


async def test_json_is_one_object_a_line_with_exactly_the_promised_keys() -> None:
    async with fake_realtime() as server, tailing(server, "--json") as process:
        await server.push(topic_of(server), "postgres_changes", change(7))
        line = await read_line(process)
        assert list(json.loads(line)) == [
            "type", "schema", "table", "new", "old", "commit_timestamp", "position",
        ]  # fmt: skip
        assert json.loads(line)["new"] == {"id": 7, "price": 12.5}
        assert json.loads(line)["old"] is None
        assert json.loads(line)["position"] is None


async def test_people_get_a_line_with_what_changed() -> None:
    async with fake_realtime() as server, tailing(server) as process:
        payload = change(
            7, type="UPDATE", record={"id": 7, "status": "b"}, old_record={"id": 7, "status": "a"}
        )
        await server.push(topic_of(server), "postgres_changes", payload)
        line = await read_line(process)
        assert '~ UPDATE trips id=7  status: "a" → "b"' in line


async def test_control_characters_of_a_row_never_reach_the_terminal() -> None:
    async with fake_realtime() as server, tailing(server) as process:
        payload = change(1, record={"id": "\x1b[2J\x9b31m\u202e"})
        await server.push(topic_of(server), "postgres_changes", payload)
        line = await read_line(process)
        assert not {"\x1b", "\x9b", "\u202e"} & set(line)


async def test_what_was_asked_for_is_what_is_subscribed_to() -> None:
    arguments = ("--filter", "id=eq.1", "--event", "update", "--schema", "sales")
    async with fake_realtime() as server, tailing(server, *arguments):
        (entry,) = server.frames("phx_join")[0][4]["config"]["postgres_changes"]
        assert entry == {
            "event": "UPDATE", "schema": "sales", "table": "trips", "filter": "id=eq.1",
        }  # fmt: skip


async def test_a_lost_link_is_told_once_and_comes_back() -> None:
    async with fake_realtime() as server, tailing(server, "--json") as process:
        port = server.port
        await server.stop()
        await wait_for_text(process, "no link")
        await server.start(port=port)
        await wait_for_text(process, "connected again")
        await server.wait_until(lambda: len(server.frames("phx_join")) == 2)
        await server.push(topic_of(server), "postgres_changes", change(8))
        assert json.loads(await read_line(process))["new"]["id"] == 8


async def test_a_reader_that_goes_away_ends_it_without_a_word() -> None:
    read_end, write_end = os.pipe()
    async with fake_realtime() as server:
        process = await asyncio.create_subprocess_exec(
            TIDEWIRE, "tail", "trips", "--json", "--url", server.url, "--key", "k",
            stdout=write_end, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(write_end)
        await wait_for_text(process, "listening to")
        os.close(read_end)
        await server.push(topic_of(server), "postgres_changes", change(1))
        assert await exit_code(process) == 0
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()


async def test_limit_ends_it_after_that_many_changes() -> None:
    async with fake_realtime() as server, tailing(server, "--json", "--limit", "2") as process:
        for number in range(3):
            await server.push(topic_of(server), "postgres_changes", change(number))
        assert await exit_code(process) == 0
        assert process.stdout is not None
        assert len((await process.stdout.read()).splitlines()) == 2


async def test_ctrl_c_is_a_good_end() -> None:
    async with fake_realtime() as server, tailing(server) as process:
        process.send_signal(signal.SIGINT)
        assert await exit_code(process) == 0


async def test_a_refused_subscription_ends_it_with_code_1_and_the_reason() -> None:
    async with fake_realtime() as server:
        server.join_answer = refuse_join("Unauthorized: you may not")
        async with tailing(server, joined=False) as process:
            await wait_for_text(process, "you may not")
            assert await exit_code(process) == 1


async def test_a_refused_key_ends_it_with_code_1() -> None:
    async with fake_realtime() as server:
        server.refusal = (HTTPStatus.UNAUTHORIZED, '{"error":"Token has expired"}')
        async with tailing(server, joined=False) as process:
            await wait_for_text(process, "Token has expired")
            assert await exit_code(process) == 1


async def test_a_refused_filter_ends_it_with_code_1_and_the_reason() -> None:
    async with fake_realtime() as server:
        server.system_answer = system("error", "no such column: nope")
        async with tailing(server, joined=False) as process:
            await wait_for_text(process, "no such column: nope")
            assert await exit_code(process) == 1
