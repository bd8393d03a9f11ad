"""Makes the sample rows: the same for the same seed, on every machine and day."""

from __future__ import annotations

import datetime
import random
import uuid
from decimal import Decimal
from typing import Any, NamedTuple

CLIENTS_COUNT = 120
TRIPS_COUNT = 60
FIRST_DAY = datetime.date(2027, 1, 4)
_NOON = datetime.datetime(2026, 11, 2, 12, 0, tzinfo=datetime.UTC)

Row = dict[str, Any]

_ORGANIZERS = (
    ("Ann Weber", "ann@tidewire.example", "#4f46e5"),
    ("Bea Novak", "bea@tidewire.example", "#0f766e"),
    ("Chris Okafor", "chris@tidewire.example", "#b45309"),
)
_GIVEN = (
    "Anna", "Bruno", "Carla", "Daniel", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas",
    "Katja", "Liam", "Maja", "Noah", "Olga", "Pavel", "Quentin", "Rosa", "Samir", "Tilda",
    "Umut", "Vera", "Walter", "Xenia", "Yusuf", "Zoe", "Aisha", "Bjorn", "Chiara", "Dmitri",
)  # fmt: skip
_FAMILY = (
    "Berg", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hansen", "Ivanova", "Jansen",
    "Keller", "Lindqvist", "Moreau", "Nowak", "Olsen", "Petrov", "Quist", "Rossi", "Silva",
    "Tanaka", "Urban", "Vogel", "Wolff", "Yilmaz", "Zeman", "Haddad", "Mensah",
)  # fmt: skip
_CITIES = (
    ("Berlin", "DE"), ("Lyon", "FR"), ("Porto", "PT"), ("Gdansk", "PL"), ("Bergen", "NO"),
    ("Trieste", "IT"), ("Graz", "AT"), ("Ghent", "BE"), ("Malmo", "SE"), ("Bilbao", "ES"),
    ("Brno", "CZ"), ("Izmir", "TR"), ("Galway", "IE"), ("Zurich", "CH"),
)  # fmt: skip
_PLACES = (
    ("Lofoten", "Northern lights and stockfish"), ("Dolomites", "Hut to hut"),
    ("Azores", "Islands by ferry"), ("Cappadocia", "Valleys on foot"),
    ("Highlands", "The west coast by rail"), ("Peloponnese", "Old stones and sea"),
    ("Tatra", "Ridges in autumn"), ("Alentejo", "Cork, wine and slow roads"),
    ("Jura", "Lakes on skis"), ("Gotland", "Bicycles and limestone"),
    ("Puglia", "Kitchens of the south"), ("Bohemia", "Sandstone and steam trains"),
)  # fmt: skip
_TAGS = ("vip", "family", "school", "company", "vegetarian", "returning", "large group")
_NOTES = (
    "Prefers trains to planes.",
    "Asked for the invoice before the end of the month.",
    "Two travellers need step-free access.",
    "Would like the same guide as last year.",
    "Waiting for passport copies.",
    "Called: wants to move the departure by two days.",
    "Allergic to nuts, told the hotel.",
    "Deposit received.",
    "Please confirm the bus for the transfer.",
    "Interested in the spring dates as well.",
)
_TRIP_STATUS = ("draft", "planned", "planned", "confirmed", "confirmed", "running", "done")
_CLIENT_STATUS = ("lead", "active", "active", "active", "paused", "archived")


class DemoRows(NamedTuple):
    """All sample rows, one list per table, parents before children."""

    organizers: list[Row]
    clients: list[Row]
    trips: list[Row]
    trip_members: list[Row]
    notes: list[Row]


def organizer_emails() -> list[str]:
    """The organizers' addresses, in their order."""
    return [email for _, email, _ in _ORGANIZERS]


def make_rows(seed: int = 1) -> DemoRows:
    """Make every sample row.

    Args:
        seed: Equal seeds give equal rows.
    """
    chance = random.Random(seed)  # noqa: S311 - sample data, and it must be repeatable
    organizers: list[Row] = [
        {"id": _uuid(chance), "name": name, "email": email, "colour": colour, "created_at": _NOON}
        for name, email, colour in _ORGANIZERS
    ]
    owners: list[uuid.UUID] = [row["id"] for row in organizers]
    clients = [_client(chance, number, owners) for number in range(1, CLIENTS_COUNT + 1)]
    trips = [_trip(chance, number, owners) for number in range(1, TRIPS_COUNT + 1)]
    members = [member for trip in trips for member in _members(chance, trip)]
    notes = [_note(chance, number, owners) for number in range(90)]
    return DemoRows(organizers, clients, trips, members, notes)


def _client(chance: random.Random, number: int, owners: list[uuid.UUID]) -> Row:
    given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
    city, country = chance.choice(_CITIES)
    owner = chance.choice(owners)
    made = _NOON + datetime.timedelta(hours=number * 3, minutes=chance.randrange(180))
    return {
        "id": number,
        "name": f"{given} {family}",
        "email": f"{given}.{family}.{number}@mail.example".lower(),
        "phone": f"+00 555 {chance.randrange(10**6):06d}" if chance.random() < 0.8 else None,
        "city": city,
        "country": country,
        "status": chance.choice(_CLIENT_STATUS),
        "tags": sorted(chance.sample(_TAGS, chance.randrange(3))),
        "preferences": {
            "seat": chance.choice(["window", "aisle"]),
            "newsletter": chance.random() < 0.5,
        },
        "owner_id": owner,
        "updated_by": owner,
        "created_at": made,
        "updated_at": made,
    }


def _trip(chance: random.Random, number: int, owners: list[uuid.UUID]) -> Row:
    destination, theme = chance.choice(_PLACES)
    starts = FIRST_DAY + datetime.timedelta(days=chance.randrange(300))
    assignee = chance.choice(owners)
    made = _NOON + datetime.timedelta(hours=number * 6, minutes=chance.randrange(360))
    return {
        "id": number,
        "title": f"{destination}: {theme}",
        "destination": destination,
        "status": chance.choice(_TRIP_STATUS),
        "starts_on": starts,
        "ends_on": starts + datetime.timedelta(days=chance.randint(2, 14)),
        "seats": chance.randint(8, 24),
        "seats_taken": 0,
        "price": Decimal(chance.randrange(390_00, 4200_00, 50)) / 100,
        "client_id": chance.randint(1, CLIENTS_COUNT),
        "assignee_id": assignee,
        "updated_by": assignee,
        "created_at": made,
        "updated_at": made,
    }


def _members(chance: random.Random, trip: Row) -> list[Row]:
    """Members of one trip, its client as the contact first; fills in the seats they take."""
    others = chance.sample(range(1, CLIENTS_COUNT + 1), chance.randint(1, 5))
    client_ids = list(dict.fromkeys([trip["client_id"], *others]))
    members: list[Row] = []
    for place, client_id in enumerate(client_ids):
        seats = chance.randint(1, 2)
        if trip["seats_taken"] + seats > trip["seats"]:
            break
        trip["seats_taken"] += seats
        members.append(
            {
                "trip_id": trip["id"],
                "client_id": client_id,
                "role": "traveller" if place else "contact",
                "seats": seats,
                "joined_at": trip["created_at"] + datetime.timedelta(hours=place + 1),
            }
        )
    return members


def _note(chance: random.Random, number: int, owners: list[uuid.UUID]) -> Row:
    of_client = chance.random() < 0.6
    return {
        "id": _uuid(chance),
        "client_id": chance.randint(1, CLIENTS_COUNT) if of_client else None,
        "trip_id": None if of_client else chance.randint(1, TRIPS_COUNT),
        "author_id": chance.choice(owners),
        "body": chance.choice(_NOTES),
        "pinned": chance.random() < 0.1,
        "created_at": _NOON + datetime.timedelta(hours=number * 4),
    }


def _uuid(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)
