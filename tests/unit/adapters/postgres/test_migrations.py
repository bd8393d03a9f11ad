"""Files of migrations, split into steps."""

from __future__ import annotations

import pytest

from tidewire.adapters.postgres.migrations import parse_migration, read_migrations


def test_steps_are_split_in_order() -> None:
    text = (
        "-- About.\n\n-- step: one\nselect 1;\n\n"
        "-- optional: two\n-- without it: Do this\nselect 2;\n"
    )
    one, two = parse_migration("0001_x", text).steps
    assert (one.name, one.statements, one.is_optional, one.advice) == (
        "one",
        "select 1;",
        False,
        "",
    )
    assert (two.name, two.is_optional, two.advice) == ("two", True, "Do this")
    assert two.statements.endswith("select 2;")


@pytest.mark.parametrize("text", ["", "-- nothing\n", "select 1;\n-- step: late\nselect 2;"])
def test_a_statement_outside_a_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="belongs to a step"):
        parse_migration("0001_x", text)


def test_our_files_have_numbers_of_their_own_and_every_optional_step_has_advice() -> None:
    migrations = read_migrations()
    numbers = [migration.name[:4] for migration in migrations]
    assert len(set(numbers)) == len(numbers)
    for step in (step for migration in migrations for step in migration.steps):
        assert step.statements
        assert bool(step.advice) is step.is_optional, step.name
