"""PostgreSQL's own evaluation is the oracle for what a filter matches."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.core.errors import InvalidSubscriptionError
from tidewire.core.filter import Condition, Operator
from tidewire.core.predicate import Predicate
from tidewire.engine.predicate_compiler import PredicateCompiler, to_comparison

pytestmark = pytest.mark.postgres

SQL = {
    "eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=",
    "like": "~~", "ilike": "~~*", "match": "~", "imatch": "~*",
    "isdistinct": "is distinct from",
}  # fmt: skip
SCALARS = ["eq", "neq", "lt", "lte", "gt", "gte", "isdistinct"]
PATTERNS = ["like", "ilike", "match", "imatch"]

VALUES: dict[str, list[str]] = {
    "int2": ["0", "-1", "7", "32767", "-32768", "007"],
    "int4": ["0", "-1", "10", "9", "2147483647", " 5 "],
    "int8": ["0", "-1", "10", "9", "9223372036854775807", "-9223372036854775808"],
    "oid": ["0", "9", "10", "4294967295"],
    "float4": ["0", "-0", "1.5", "0.1", "NaN", "Infinity", "-Infinity", "1e-40", "3.4e38"],
    "float8": ["0", "-0", "1.5", "0.1", "NaN", "Infinity", "-Infinity", "1e300", "5e-324"],
    "numeric": ["0", "-0.00", "1.0", "1", "1.50", "-2", "1e2", "NaN", "Infinity", "-Infinity"],
    "numeric(8,2)": ["0", "1.00", "1", "12.345", "-3.2"],
    "bool": ["true", "f", "yes", "0"],
    "text": ["", "abc", "ABC", "a%c", "x_y", "z\nq", "o'k", "a\\b", "ab ", "é", "É", "i", "İ",
             "日本"],
    "varchar(20)": ["", "abc", "ABC", "ab ", "é", "$1; drop table t"],
    "char(5)": ["", "abc", "ABC", "ab", "ab ", "é"],
    "name": ["", "abc", "ABC", "x_y"],
    '"char"': ["a", "b", "A"],
    "uuid": ["00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000b",
             "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "bytea": ["\\x", "\\x00", "\\xff", "\\xff00", "abc"],
    "date": ["2026-01-01", "2025-12-31", "0044-03-15 BC", "0043-01-01 BC", "12026-01-01",
             "infinity", "-infinity", "Jan 3 2026", "0001-01-01"],
    "time": ["00:00", "24:00:00", "12:30:00.5", "12:30:00.51", "12:30"],
    "timetz": ["12:00+00", "13:00+01", "12:00+02"],
    "timestamp": ["2026-01-01", "2026-01-01 00:00:00.5", "2026-01-01 00:00:00.51", "infinity",
                  "-infinity", "12026-01-01", "0044-03-15 12:00 BC", "0043-03-15 12:00 BC"],
    "timestamptz": ["2026-01-01", "2026-01-01 00:00:00.5+00", "2026-01-01T05:00:00+05:00",
                    "infinity", "-infinity", "2026-01-01 00:00:00.51", "0044-03-15 12:00 BC",
                    "99999-01-01"],
    "interval": ["1 day", "24:00:00", "1 mon", "30 days", "-1 day"],
    "inet": ["1.2.3.4", "1.2.3.4/24", "1.2.3.4/32", "::1", "fe80::1"],
    "cidr": ["10.0.0.0/8", "10.0.0.0/16", "::/0"],
    "macaddr": ["08:00:2b:01:02:03", "08002b:010204"],
    "bit(3)": ["101", "000", "111"],
    "varbit": ["", "1", "10", "01"],
    "money": ["1.00", "-2.50", "1,000.00"],
    "jsonb": ['{"a":1}', '{"a": 1.0}', "1", "1.0", "null", '"x"'],
    "int4[]": ["{1,2}", "{}", "{1,NULL}", "[0:1]={1,2}"],
    "text[]": ["{a,b}", '{"a,b"}', "{}"],
    "int4range": ["[1,3)", "(0,2]", "empty", "[1,)"],
    "numrange": ["[1,2)", "[1.0,2.0)", "empty"],
    "pg_lsn": ["0/0", "16/B374D848", "FF/0"],
    "mood": ["sad", "ok", "happy"],
    "positive": ["1", "2", "30"],
    "label": ["abc", "ABC", ""],
    'text collate "pg_unicode_fast"': ["abc", "ABC", "b", "é", "É", "i", "I"],
    'text collate "C"': ["abc", "ABC", "b", "é", "e"],
}  # fmt: skip
PATTERN_TEXTS = [
    "abc", "a%", "%B%", "a\\%c", "_b_", "x\\_y", "%", "", "%%", "_", "é", "_%_", "^abc$", "b", "^a",
    "c$", "a.c", "[a-c]+", "i", "I", "(a|b)", "ab ", "^$", "%'%", "\\\\", "$1", "%\\\\%", "a_c%",
]  # fmt: skip


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        set timezone = 'UTC';
        create publication supabase_realtime;
        create type mood as enum ('sad', 'ok', 'happy');
        create domain positive as int check (value > 0);
        create domain label as varchar(10);
    """)
    yield connection
    await connection.close()


@pytest.fixture
async def catalogs(database_url: str) -> AsyncIterator[PostgresCatalog]:
    catalogs = PostgresCatalog(database_url)
    yield catalogs
    await catalogs.close()


class Oracle:
    """A table with one column of some type, and both sides' opinion on its rows."""

    def __init__(
        self, connection: asyncpg.Connection, catalogs: PostgresCatalog, type_name: str
    ) -> None:
        self.connection = connection
        self.catalogs = catalogs
        self.type_name = type_name
        self.plain_type = type_name.partition("(")[0].partition(" collate")[0]
        self.compiler = PredicateCompiler(catalogs)

    async def prepare(self, values: list[str]) -> None:
        await self.connection.execute(
            f"drop table if exists t; create table t (n serial primary key, c {self.type_name});"
            "alter publication supabase_realtime add table t;"
        )
        await self.connection.execute(
            f"insert into t (c) select x::{self.type_name} from unnest($1::text[]) x",
            [*values, None],
        )
        rows = await self.connection.fetch(
            "select case when c is not null then format('%s', c) end from t order by n"
        )
        self.cells = [None if row[0] is None else row[0].encode() for row in rows]
        catalog = await self.catalogs.refresh()
        (self.table,) = catalog.tables.values()
        self.types = {column.name: column.type_oid for column in self.table.columns}

    async def ours(self, condition: Condition) -> list[bool] | None:
        try:
            (predicate,) = await self.compiler.compile(
                self.catalogs.current, self.table, [condition], self.types
            )
        except InvalidSubscriptionError:
            return None
        return [await self._judge(predicate, cell) for cell in self.cells]

    async def _judge(self, predicate: Predicate, cell: bytes | None) -> bool:
        verdict = predicate.judge(cell)
        if verdict is not None:
            return verdict
        assert cell is not None
        asked = [to_comparison(q, self.table.oid) for q in predicate.questions(cell)]
        answers = await self.catalogs.compare(asked)
        assert None not in answers
        return predicate.conclude([bool(answer) for answer in answers])

    async def theirs(self, condition: Condition) -> list[bool] | None:
        name = condition.operator.value
        literal_type = "text" if name in PATTERNS else self.plain_type
        if literal_type in ("char", "bit"):  # without a length these would mean length 1
            literal_type = "bpchar" if literal_type == "char" else '"bit"'
        if name == "in":
            expression = f"c = any(select x::{literal_type} from unnest($1::text[]) x)"
            arguments: list[object] = [list(condition.values)]
        elif name == "is":
            expression, arguments = f"c is {condition.value}", []
        else:
            expression = f"c {SQL[name]} $1::text::{literal_type}"
            arguments = [condition.value]
        if condition.negated:
            expression = f"not ({expression})"
        if name not in ("is", "isdistinct"):
            expression = f"c is not null and {expression}"  # "not in ()" would match NULL
        try:
            rows = await self.connection.fetch(
                f"select coalesce({expression}, false) from t order by n", *arguments
            )
        except asyncpg.PostgresError:
            return None
        return [row[0] for row in rows]

    async def agree(self, condition: Condition) -> int:
        ours, theirs = await self.ours(condition), await self.theirs(condition)
        assert ours == theirs, f"{self.type_name}: {condition} on {self.cells}"
        return len(theirs or ())


def conditions_for(values: list[str], *, textual: bool, rng: random.Random) -> list[Condition]:
    conditions = [
        Condition("c", Operator(name), (value,), negated)
        for name, value, negated in itertools.product(SCALARS, values, (False, True))
    ]
    for negated in (False, True):
        conditions.append(Condition("c", Operator.IS, ("null",), negated))
        conditions.append(Condition("c", Operator.IN, (), negated))
        for _ in range(4):
            items = rng.sample([*values, None], min(2, len(values)))
            conditions.append(Condition("c", Operator.IN, tuple(items), negated))
    if textual:
        conditions += [
            Condition("c", Operator(name), (pattern,), negated)
            for name, pattern, negated in itertools.product(PATTERNS, PATTERN_TEXTS, (False, True))
        ]
    return conditions


@pytest.mark.parametrize("type_name", VALUES)
async def test_every_operator_matches_the_rows_that_postgres_matches(
    type_name: str, connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    values = VALUES[type_name]
    oracle = Oracle(connection, catalogs, type_name)
    await oracle.prepare(values)
    textual = oracle.plain_type in ("text", "varchar", "char", "name", "label")
    decisions = 0
    for condition in conditions_for(values, textual=textual, rng=random.Random(type_name)):
        decisions += await oracle.agree(condition)
    assert decisions > 40


async def test_booleans_know_true_false_and_unknown(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    oracle = Oracle(connection, catalogs, "bool")
    await oracle.prepare(["t", "f"])
    for value, negated in itertools.product(["true", "false", "unknown", "null"], (False, True)):
        assert await oracle.agree(Condition("c", Operator.IS, (value,), negated)) == 3


async def test_random_like_patterns_match_as_in_postgres(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    rng = random.Random(20)
    oracle = Oracle(connection, catalogs, "text")
    texts = sorted({"".join(rng.choices("abAi_%\\é", k=rng.randrange(9))) for _ in range(60)})
    await oracle.prepare(texts)
    decisions = 0
    for _ in range(250):
        pattern = "".join(
            rng.choices("ab%_\\iAé", weights=[4, 4, 4, 3, 2, 1, 1, 1], k=rng.randrange(8))
        )
        operator = rng.choice([Operator.LIKE, Operator.ILIKE])
        condition = Condition("c", operator, (pattern,), rng.random() < 0.3)
        if await oracle.ours(condition) is None:  # a lone backslash at the end is refused
            assert pattern.endswith("\\")
            continue
        decisions += await oracle.agree(condition)
    assert decisions > 5_000
