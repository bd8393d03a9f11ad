from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import changes
from tests.support.changes import COMMITTED_AT_US
from tests.support.clock import ManualClock
from tests.support.rows import make_row
from tidewire.core.change import (
    Change,
    ChangeKind,
    LogicalMessage,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.errors import BrokerUnavailableError
from tidewire.core.lsn import Lsn
from tidewire.core.message import Message, PayloadEncoding
from tidewire.engine.audience import Audience
from tidewire.engine.database_broadcasts import DatabaseBroadcasts
from tidewire.engine.stats import Stats

COLUMNS = (
    "topic", "extension", "payload", "event", "private", "id", "binary_payload", "skip_broadcast",
)  # fmt: skip
ID = "0b7c0000-0000-4000-8000-000000000001"
ROW: dict[str, Any] = {
    "topic": b"room:1",
    "extension": b"broadcast",
    "payload": b'{"x": 1.50}',
    "event": b"INSERT",
    "private": b"t",
    "id": ID.encode(),
    "binary_payload": None,
    "skip_broadcast": b"f",
}


def relation(name: str = "messages", schema: str = "realtime", columns: Any = COLUMNS) -> Relation:
    described = tuple(RelationColumn(column, 25) for column in columns)
    return Relation(7, schema, name, ReplicaIdentity.DEFAULT, described)


MESSAGES = relation()


def row(of: Relation = MESSAGES, kind: ChangeKind = ChangeKind.INSERT, **values: Any) -> Change:
    data = make_row(*[{**ROW, **values}.get(column.name) for column in of.columns])
    return Change(kind, of, data, None)


class House:
    """Broadcasts, and a broker that keeps what it is given."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.held: list[tuple[Message, float]] = []
        self.on_publish: Callable[[Message], object] = self.published.append
        self.refuses = False
        self.stats = Stats()
        self.clock = ManualClock(COMMITTED_AT_US / 1e6)
        self.broadcasts = DatabaseBroadcasts(
            self,
            self.clock,
            self.stats,
            payload_bytes_max=1000,
            age_s_max=60,
            hold=lambda message, at_s: self.held.append((message, at_s)),
        )

    def subscribe(self, deliver: Any) -> None:
        raise NotImplementedError

    def publish(self, message: Message) -> None:
        if self.refuses:
            raise BrokerUnavailableError
        self.on_publish(message)

    def message(self, change: Change) -> Message | None:
        return self.broadcasts.message_of(change, COMMITTED_AT_US)


async def never() -> None:
    raise AssertionError("so few messages need no pause")


@pytest.fixture
def house() -> House:
    return House()


def test_a_row_becomes_a_message_with_its_bytes_and_its_id(house: House) -> None:
    message = house.message(row())
    assert house.held == [(message, COMMITTED_AT_US / 1e6)]
    assert message == Message(
        "default:private:room:1",
        "INSERT",
        b'{"x": 1.50}',
        encoding=PayloadEncoding.JSON,
        meta=b'{"id":"%b"}' % ID.encode(),
        row_id=ID,
    )


def test_public_and_private_rows_go_to_their_own_rooms(house: House) -> None:
    message = house.message(row(private=b"f"))
    assert message is not None
    assert message.topic == "default:public:room:1"


def test_bytes_come_out_of_their_hexadecimal_form(house: House) -> None:
    message = house.message(row(payload=None, binary_payload=b"\\x00ff10"))
    assert message is not None
    assert (message.body, message.encoding) == (b"\x00\xff\x10", PayloadEncoding.BINARY)


def test_rows_of_a_partition_count_too(house: House) -> None:
    assert house.message(row(relation("messages_2026_09_30"))) is not None


@pytest.mark.parametrize(
    "of",
    [
        relation(schema="public"),
        relation("messages2"),
        relation("tidewire_migrations"),
        relation(columns=("id", "topic", "payload")),
    ],
)
def test_rows_of_other_tables_are_no_messages(house: House, of: Relation) -> None:
    assert house.message(row(of)) is None
    assert house.stats.database_broadcasts_dropped_total == 0


@pytest.mark.parametrize("kind", [ChangeKind.UPDATE, ChangeKind.DELETE, ChangeKind.TRUNCATE])
def test_only_inserts_are_sent(house: House, kind: ChangeKind) -> None:
    assert house.message(row(kind=kind)) is None


def test_what_was_sent_already_or_is_of_another_extension_is_not_sent(house: House) -> None:
    assert house.message(row(skip_broadcast=b"t")) is None
    assert house.message(row(extension=b"presence")) is None
    assert house.stats.database_broadcasts_dropped_total == 0


@pytest.mark.parametrize(
    "values",
    [
        {"payload": b'"' + b"x" * 1000 + b'"'},
        {"topic": b""},
        {"topic": None},
        {"topic": b"\xff"},
        {"payload": None},
        {"payload": None, "binary_payload": b"\\xzz"},
        {"payload": None, "binary_payload": b"escaped"},
        {"id": b"\xff"},
    ],
)
def test_what_cannot_be_sent_is_counted_and_logged(
    house: House, caplog: pytest.LogCaptureFixture, values: dict[str, Any]
) -> None:
    assert house.message(row(**values)) is None
    assert house.stats.database_broadcasts_dropped_total == 1
    assert "broadcasts from SQL dropped" in caplog.text
    assert "xxxx" not in caplog.text


def test_a_malformed_row_stops_nobody(house: House) -> None:
    short = Change(ChangeKind.INSERT, MESSAGES, make_row(b"one"), None)
    assert house.message(short) is None
    assert house.message(Change(ChangeKind.INSERT, MESSAGES, b"\x00", None)) is None
    assert house.stats.database_broadcasts_dropped_total == 2
    assert house.message(row()) is not None


def test_a_message_older_than_the_bound_is_dropped(house: House) -> None:
    house.clock.advance(60)
    assert house.message(row()) is not None
    house.clock.advance(1)
    assert house.message(row()) is None
    assert house.stats.database_broadcasts_dropped_total == 1


def test_text_of_a_database_without_an_encoding_is_mended(house: House) -> None:
    message = house.message(row(payload=b'{"x": "\xe9"}'))
    assert message is not None
    assert message.body == '{"x": "\N{REPLACEMENT CHARACTER}"}'.encode()


async def test_whole_transactions_are_published_in_order(house: House) -> None:
    def transaction(*items: Any, overflowed: bool = False) -> Transaction:
        return Transaction(Lsn(1), Lsn(2), 1, COMMITTED_AT_US, items, overflowed)

    rows = [row(event=b"%d" % number) for number in range(3)]
    other = row(relation("trips", "public", ("id",)))
    ddl = LogicalMessage("tidewire.ddl", b"{}")
    await house.broadcasts.publish_all(
        [transaction(rows[0], other, ddl, rows[1]), transaction(overflowed=True),
         transaction(rows[2])],
        never,
    )  # fmt: skip
    assert [message.event for message in house.published] == ["0", "1", "2"]
    assert house.stats.database_broadcasts_total == 3
    assert house.stats.database_broadcasts_dropped_total == 1


async def test_between_many_messages_others_get_their_turn(house: House) -> None:
    pauses: list[int] = []

    async def pace() -> None:
        pauses.append(len(house.published))

    whole = Transaction(Lsn(1), Lsn(2), 1, COMMITTED_AT_US, (row(),) * 600)
    await house.broadcasts.publish_all([whole], pace)
    assert pauses == [256, 512]


def test_a_send_that_only_warned_is_counted_and_logged(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.broadcasts.on_message(b"room:1")
    assert house.stats.send_failures_total == 1
    assert "realtime.send failed" in caplog.text


def test_what_the_broker_does_not_take_is_counted(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    message = house.message(row())
    assert message is not None
    house.refuses = True
    with caplog.at_level(logging.WARNING):
        house.broadcasts.publish(message)
    assert house.stats.database_broadcasts_dropped_total == 1
    assert house.stats.database_broadcasts_total == 0


# ------------------------------------------------------------------ in the stream of changes


async def test_messages_and_changes_are_handed_on_in_commit_order(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    routing = changes.House(changes.catalog(changes.table()), broadcasts=house.broadcasts)
    receiver, _ = await routing.join({"event": "*", "schema": "public", "table": "trips"})
    log: list[str] = []
    house.on_publish = lambda message: log.append(message.event)
    offer = Audience.offer

    def noted(audience: Audience, frame: Any, *rest: Any) -> None:
        log.append("change")
        offer(audience, frame, *rest)

    monkeypatch.setattr(Audience, "offer", noted)
    trips = changes.relation_of(changes.table())
    change = changes.insert(trips, b"7", b"paid", None)
    await routing.send(row(event=b"1"), change, row(event=b"2"), row(event=b"3"), change)
    assert log == ["1", "change", "2", "3", "change"]
    assert len(receiver.take()) == 2


async def test_messages_are_sent_also_when_nobody_wants_changes(house: House) -> None:
    routing = changes.House(changes.catalog(changes.table()), broadcasts=house.broadcasts)
    await routing.send(row(event=b"1"), row(event=b"2"))
    assert [message.event for message in house.published] == ["1", "2"]


async def test_messages_are_sent_also_when_the_changes_beside_them_are_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.engine.change_router.ROUNDS_MAX", 0)
    routing = changes.House(changes.catalog(changes.table()), broadcasts=house.broadcasts)
    await routing.join({"event": "*", "schema": "public", "table": "trips"})
    trips = changes.relation_of(changes.table())
    await routing.send(changes.insert(trips, b"7", b"paid", None), row(event=b"1"))
    assert [message.event for message in house.published] == ["1"]


async def test_a_transaction_too_large_to_be_read_is_counted(house: House) -> None:
    routing = changes.House(changes.catalog(changes.table()), broadcasts=house.broadcasts)
    await routing.join({"event": "*", "schema": "public", "table": "trips"})
    await routing.send(overflowed=True)
    assert house.stats.database_broadcasts_dropped_total == 1
