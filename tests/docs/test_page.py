"""The page at / hears of changes, with the stock client and without it.

Its DOM is left out; what is run is the very script by which it speaks to the server.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import pytest

from tests.docs.pages import Example
from tests.docs.test_examples import run_until_it_prints
from tests.support.served import launcher
from tests.support.stock_js import FOLDER as JS_FOLDER
from tidewire.http.page import STATIC_FOLDER

CONNECT = {
    "stock": "connectStock(library, url, anon_key, handlers)",
    "reduced": "connectReduced(url, anon_key, handlers)",
}
PROGRAM = """
import {{ readFileSync }} from 'node:fs'
import * as library from '@supabase/supabase-js'
import {{ connectReduced, connectStock }} from './connection.mjs'

const {{ url, anon_key }} = JSON.parse(readFileSync('ready.json', 'utf8'))
const handlers = {{
  me: {{ id: 'me', name: 'Me', colour: '#123456' }},
  onState: (state) => console.log('state', state),
  onChange: ({{ type, table, row, committedAt }}) =>
    committedAt.endsWith('Z') && console.log(type, table, row.id),
  onPeople: (people) => console.log('people', Object.keys(people)),
  onCursor: () => {{}},
}}
{connect}
"""


@pytest.mark.postgres
@pytest.mark.conformance
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("way", "words"),
    [("stock", "UPDATE trips 1"), ("stock", "people [ 'me' ]"), ("reduced", "UPDATE trips 1")],
)
async def test_the_page_hears_of_a_change(way: str, words: str, tmp_path: Path) -> None:
    shutil.copy(STATIC_FOLDER / "connection.js", tmp_path / "connection.mjs")
    (tmp_path / "node_modules").symlink_to(JS_FOLDER / "node_modules")
    program = PROGRAM.format(connect=CONNECT[way])
    touch = "update trips set title = title || '.' where id = 1"
    async with launcher(tmp_path) as servers:
        server = await servers.start_ready(command="demo")
        database = await asyncpg.connect(server.ready["database_url"], timeout=10)
        example = Example(way, 1, "js", program, words, touch)
        await run_until_it_prints(example, database, tmp_path)
        await database.close(timeout=10)
