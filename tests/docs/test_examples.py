"""Every example of the documentation runs; `pages` says how."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import click
import httpx
import pytest

from tests.docs.pages import LANGUAGES, PAGES, ROOT, Example, commands_of, examples_of, page_name
from tests.support.served import Launcher, Served, launcher
from tests.support.stock_js import FOLDER as JS_FOLDER
from tests.support.stock_js import find_node
from tidewire.cli.main import group
from tidewire.server.settings import load_settings, setting_fields

DEADLINE_S = 20
AGAIN_S = 0.1
SERVER_ADDRESS = "http://127.0.0.1:4000"
SCRIPT_PROGRAMS = {"test": "scripts/test_groups.py", "bench": "benches/run.py"}

ALL = [example for path in PAGES for example in examples_of(path)]
COMMANDS = [(e, line) for e in ALL if e.language == "console" for line in commands_of(e)]


def needs_server(example: Example) -> bool:
    return example.language in ("python", "js", "sql") or (
        example.language == "console" and any("curl" in line for line in commands_of(example))
    )


def name_of(example: Example) -> str:
    return f"{example.page}:{example.line}"


# ------------------------------------------------------------ what can be judged by looking


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_fence_is_read_and_of_a_language_that_is_tested_or_only_shown(path: Path) -> None:
    found = examples_of(path)
    fences = re.findall(r"^ *```", path.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(found)
    assert {example.language for example in found} <= LANGUAGES


@pytest.mark.parametrize(
    ("example", "line"), COMMANDS, ids=[f"{name_of(e)} {line[:40]}" for e, line in COMMANDS]
)
def test_every_command_and_flag_exists(example: Example, line: str) -> None:
    for words in _split(line):
        _check_command(words)


@pytest.mark.parametrize("example", [e for e in ALL if e.language == "toml"], ids=name_of)
def test_every_settings_file_is_accepted(example: Example, tmp_path: Path) -> None:
    file = tmp_path / "tidewire.toml"
    file.write_text(example.text)
    load_settings(config_file=file, environment={})


def _split(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, comments and pipes taken apart."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _check_command(words: list[str]) -> None:
    while "=" in words[0]:
        name = words.pop(0).partition("=")[0]
        known = {field.environment_name for field in setting_fields().values()}
        assert name in known or not name.startswith("TIDEWIRE_"), f"{name} is no setting"
    program, arguments = words[0], words[1:]
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    if program in ("git", "cd", "curl", "jq", "pip"):
        return
    if program in ("tidewire", ".venv/bin/tidewire"):
        _check_tidewire(arguments)
    elif program == "scripts/demo":
        _check_tidewire(["demo", *arguments])
    else:
        assert program.startswith("scripts/"), f"{program} is not known to the test"
        _check_script(program, arguments)


def _check_tidewire(arguments: list[str]) -> None:
    """Let click read the arguments; nothing is run."""
    if arguments[:1] in (["--help"], ["--version"]):
        return
    command = group.get_command(click.Context(group), arguments[0])
    assert command is not None, f"no command {arguments[0]}"
    command.make_context(arguments[0], [word for word in arguments[1:] if word != "--help"])


def _check_script(program: str, arguments: list[str]) -> None:
    assert os.access(ROOT / program, os.X_OK), program
    behind = SCRIPT_PROGRAMS.get(program.removeprefix("scripts/"))
    text = (ROOT / program).read_text() + ((ROOT / behind).read_text() if behind else "")
    for word in arguments:
        if word.startswith("--"):
            assert f'"{word}"' in text or f"{word}\n" in text, f"{program} has no {word}"
        elif not word.replace(".", "").isdigit():
            assert f'"{word}"' in text or re.search(rf"\b{word}\b", text), f"{program}: {word}"


# ------------------------------------------------------------ what has to be run


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Launcher]:
    async with launcher(tmp_path) as made:
        yield made


RUNNING = [path for path in PAGES if any(map(needs_server, examples_of(path)))]


@pytest.mark.postgres
@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", RUNNING, ids=page_name)
async def test_a_pages_examples_run_from_top_to_bottom(
    path: Path, servers: Launcher, tmp_path: Path
) -> None:
    server = await servers.start_ready(command="demo")
    (tmp_path / "node_modules").symlink_to(JS_FOLDER / "node_modules")
    database = await asyncpg.connect(server.ready["database_url"], timeout=DEADLINE_S)
    try:
        for example in examples_of(path):
            if needs_server(example):
                await _run(example, server, database, tmp_path)
    finally:
        await database.close(timeout=DEADLINE_S)
    assert "Traceback" not in server.log


async def _run(
    example: Example, server: Served, database: asyncpg.Connection, folder: Path
) -> None:
    if example.language == "sql":
        await database.execute(example.text, timeout=DEADLINE_S)
    elif example.language == "console":
        await _ask(example, server)
    elif example.prints:
        await run_until_it_prints(example, database, folder)
    else:
        process = await _start(example, folder)
        async with asyncio.timeout(DEADLINE_S):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{name_of(example)}:\n{out.decode()}"


async def _ask(example: Example, server: Served) -> None:
    for line in commands_of(example):
        for words in _split(line):
            if words[0] == "curl":
                address = words[-1].replace(SERVER_ADDRESS, server.ready["url"].rstrip("/"))
                async with httpx.AsyncClient() as http:
                    assert (await http.get(address)).status_code == 200, address


async def _start(example: Example, folder: Path) -> asyncio.subprocess.Process:
    suffix = {"python": "py", "js": "mjs"}[example.language]
    file = folder / f"example-{example.line}.{suffix}"
    file.write_text(example.text)
    program = sys.executable if suffix == "py" else find_node()
    return await asyncio.create_subprocess_exec(
        program, file, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


async def run_until_it_prints(example: Example, database: asyncpg.Connection, folder: Path) -> None:
    process = await _start(example, folder)
    assert process.stdout is not None
    said = ""
    reading = asyncio.create_task(process.stdout.readline())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while example.prints not in said:
                if example.stimulus:
                    await database.execute(example.stimulus)
                await asyncio.wait([reading], timeout=AGAIN_S)
                if not reading.done():
                    continue
                line = reading.result()
                assert line, f"{name_of(example)} ended:\n{said}"
                said += line.decode()
                reading = asyncio.create_task(process.stdout.readline())
    except TimeoutError:
        pytest.fail(f"{name_of(example)} did not print {example.prints!r}:\n{said}")
    finally:
        reading.cancel()
        if process.returncode is None:
            process.kill()
        await process.communicate()
