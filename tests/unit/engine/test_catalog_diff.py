from __future__ import annotations

import msgspec

from tests.support.changes import TRIPS, TYPES, catalog, may_read, table
from tidewire.core.catalog import TypeInfo, TypeKind
from tidewire.engine.catalog_diff import CatalogDiff

MOODY = table(99, "moody", (("id", 23), ("mood", 5000)))


def test_equal_states_differ_in_nothing() -> None:
    assert not CatalogDiff(catalog(table(), MOODY), catalog(table(), MOODY))


def test_tables_that_came_went_or_changed_are_named() -> None:
    wider = table(columns=(("id", 23), ("more", 25)))
    assert CatalogDiff(catalog(table()), catalog(wider)).tables == {TRIPS}
    assert CatalogDiff(catalog(table(), MOODY), catalog(table())).tables == {99}
    assert CatalogDiff(catalog(table()), catalog(table(), MOODY)).touches("anon", 99)


def test_a_changed_type_touches_the_tables_that_use_it() -> None:
    more = TYPES | {5000: TypeInfo(5000, "mood", TypeKind.ENUM, labels=("a",), category="E")}
    before = catalog(table(), MOODY)
    after = msgspec.structs.replace(before, types=more)
    assert CatalogDiff(before, after).tables == {99}


def test_changed_access_touches_that_role_alone() -> None:
    before = catalog(table(), author=may_read("id"))
    after = catalog(table(), author=may_read("id", "status"))
    diff = CatalogDiff(before, after)
    assert diff
    assert diff.touches("author", TRIPS)
    assert not diff.touches("anon", TRIPS)
    assert CatalogDiff(after, catalog(table(), author=None)).touches("author", TRIPS)
