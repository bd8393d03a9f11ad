import hashlib
from typing import Any

import pytest

from tidewire.server.demo.load import demo_users
from tidewire.server.demo.rows import CLIENTS_COUNT, make_rows
from tidewire.server.demo.schema import TABLES

ROWS = make_rows()


def test_equal_seeds_give_equal_rows_and_others_give_others() -> None:
    assert make_rows(1) == make_rows(1)
    assert make_rows(1) != make_rows(2)


def test_the_default_rows_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(repr(make_rows()).encode()).hexdigest()
    assert digest == "c47d29c05adca1905ba7d730c58ff141844962d6e436884db8d65d046ce6110b"


def test_there_are_a_few_hundred_rows_in_every_table() -> None:
    assert 300 <= sum(len(getattr(ROWS, table)) for table in TABLES) <= 900
    assert all(getattr(ROWS, table) for table in TABLES)
    assert len(ROWS.organizers) == 3


def keys(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("organizers", ("id",)),
        ("organizers", ("email",)),
        ("clients", ("id",)),
        ("clients", ("email",)),
        ("trips", ("id",)),
        ("trip_members", ("trip_id", "client_id")),
        ("notes", ("id",)),
    ],
)
def test_keys_are_unique(table: str, names: tuple[str, ...]) -> None:
    found = keys(getattr(ROWS, table), *names)
    assert len(found) == len(set(found))


def test_a_trip_has_the_seats_that_its_members_take_and_its_client_is_one() -> None:
    for trip in ROWS.trips:
        members = [row for row in ROWS.trip_members if row["trip_id"] == trip["id"]]
        assert sum(row["seats"] for row in members) == trip["seats_taken"] <= trip["seats"]
        assert members[0]["client_id"] == trip["client_id"]
        assert trip["starts_on"] <= trip["ends_on"]


def test_references_point_to_rows() -> None:
    assert {row["client_id"] for row in ROWS.trips} <= set(range(1, CLIENTS_COUNT + 1))
    assert all((row["client_id"] is None) != (row["trip_id"] is None) for row in ROWS.notes)


def test_sign_ins_are_the_organizers_and_stay_the_same_for_one_secret() -> None:
    users = demo_users("s" * 32)
    assert [user.email for user in users] == [row["email"] for row in ROWS.organizers]
    assert users == demo_users("s" * 32)
    assert users != demo_users("t" * 32)
    assert len({user.password for user in users}) == 3
