from __future__ import annotations

import pytest

from tests.support.changes import FakeCatalogs, catalog, table
from tidewire.core.errors import DatabaseUnavailableError, InvalidSubscriptionError
from tidewire.core.filter_parse import parse_filter
from tidewire.core.predicate import Predicate
from tidewire.engine.predicate_compiler import PredicateCompiler

TABLE = table(columns=(("id", 23), ("wait", 1186), ("note", 25), ("mood", 5000), ("odd", 777)))


class Compiling:
    def __init__(self) -> None:
        self.catalogs = FakeCatalogs(catalog(TABLE))
        self.asked: list[str] = []
        ask = self.catalogs.canonical_literals

        async def counted(requests):
            self.asked += [request.text for request in requests]
            return await ask(requests)

        self.catalogs.canonical_literals = counted
        self.compiler = PredicateCompiler(self.catalogs)

    async def compile(self, text: str) -> tuple[Predicate, ...]:
        types = {column.name: column.type_oid for column in TABLE.columns}
        return await self.compiler.compile(self.catalogs.newest, TABLE, parse_filter(text), types)


async def test_plain_filters_need_no_question() -> None:
    compiling = Compiling()
    (one, two, three) = await compiling.compile("id=in.(1,007),note=like.a%,note=is.null")
    assert one.literals == ("1", "7")
    assert compiling.asked == compiling.catalogs.compared == []
    assert not any(predicate.needs_database for predicate in (one, two, three))


async def test_what_the_database_said_is_remembered() -> None:
    compiling = Compiling()
    for _ in range(3):
        await compiling.compile("wait=eq.1 day,mood=eq.sad")
    assert sorted(compiling.asked) == ["1 day", "sad"]
    assert len(compiling.catalogs.compared) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wait=eq.bad", 'invalid input syntax for type interval: "bad"'),
        ("nope=eq.1", "invalid column for filter nope"),
        ("odd=eq.1", "failed to lookup type for column odd"),
        ("id=like.1", "operator like is not supported on column id of type integer"),
    ],
)
async def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSubscriptionError) as caught:
        await Compiling().compile(text)
    assert message in str(caught.value)


async def test_what_the_database_cannot_evaluate_is_refused_and_not_remembered() -> None:
    compiling = Compiling()
    compiling.catalogs.judge = lambda _: None
    for text, message in (
        ("note=match.a(", "invalid regular expression for match filter: a("),
        ("wait=lt.1 day", "operator lt is not supported on column wait of type interval"),
    ):
        for _ in range(2):
            with pytest.raises(InvalidSubscriptionError) as caught:
                await compiling.compile(text)
            assert message in str(caught.value)


async def test_an_absent_database_is_no_refusal() -> None:
    compiling = Compiling()
    compiling.catalogs.down = True
    with pytest.raises(DatabaseUnavailableError):
        await compiling.compile("wait=eq.1 day")
