"""What every `Broker` promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidewire.adapters.memory.broker import MemoryBroker
from tidewire.core.message import Message
from tidewire.ports.broker import Broker


@pytest.fixture(params=[MemoryBroker])
def broker(request: pytest.FixtureRequest) -> Broker:
    make: Callable[[], Broker] = request.param
    return make()


def message(topic: str, body: bytes) -> Message:
    return Message(topic, "e", body)


def test_a_node_gets_what_it_publishes_itself_once_and_unchanged(broker: Broker) -> None:
    got: list[Message] = []
    broker.subscribe(got.append)
    sent = Message("t", "e", b"\x00\xff", meta=b"{}", sender="c1")
    broker.publish(sent)
    assert got == [sent]


def test_messages_of_a_topic_arrive_in_the_order_they_were_published(broker: Broker) -> None:
    got: list[Message] = []
    broker.subscribe(got.append)
    sent = [message("t", b"%d" % number) for number in range(1000)]
    for one in sent:
        broker.publish(one)
    assert got == sent


def test_what_is_published_within_a_delivery_comes_after_it(broker: Broker) -> None:
    log: list[bytes] = []

    def deliver(incoming: Message) -> None:
        log.append(b"begin " + incoming.body)
        if incoming.body == b"1":
            broker.publish(message("t", b"2"))
            broker.publish(message("t", b"3"))
        log.append(b"end " + incoming.body)

    broker.subscribe(deliver)
    broker.publish(message("t", b"1"))
    assert log == [word + number for number in (b"1", b"2", b"3") for word in (b"begin ", b"end ")]


def test_a_delivery_that_raises_does_not_stop_later_ones(broker: Broker) -> None:
    got: list[bytes] = []

    def deliver(incoming: Message) -> None:
        if incoming.body == b"bad":
            raise ValueError(incoming.body)
        got.append(incoming.body)

    broker.subscribe(deliver)
    with pytest.raises(ValueError, match="bad"):
        broker.publish(message("t", b"bad"))
    broker.publish(message("t", b"good"))
    assert got == [b"good"]


def test_without_a_subscriber_publishing_is_no_error(broker: Broker) -> None:
    broker.publish(message("t", b"x"))
