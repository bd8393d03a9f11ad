import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidewire.protocol.phoenix.broadcast_batch import BatchEntry, InvalidBatch, parse_batch

GOOD = {"topic": "room:1", "event": "cursor", "payload": {"x": 1}}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


def parse(*messages: Any, limit: int = 1000) -> Any:
    return parse_batch(json.dumps({"messages": messages}).encode(), payload_bytes_max=limit)


def test_a_message_becomes_the_payload_of_a_frame() -> None:
    assert parse(GOOD) == [
        BatchEntry("room:1", b'{"payload":{"x": 1},"event":"cursor","type":"broadcast"}', False)
    ]


def test_an_id_is_told_as_meta() -> None:
    (entry,) = parse({**GOOD, "id": "abc", "private": True})
    assert json.loads(entry.envelope)["meta"] == {"id": "abc"}
    assert entry.private


def test_the_payload_is_passed_on_byte_for_byte() -> None:
    body = b'{"messages":[{"topic":"t","event":"e\\u00fc","payload": {"n":1.50, "n":2} }]}'
    entries = parse_batch(body, payload_bytes_max=100)
    assert isinstance(entries, list)
    (entry,) = entries
    assert entry.envelope == (
        b'{"payload":{"n":1.50, "n":2},"event":"e\\u00fc","type":"broadcast"}'
    )


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"payload": None}, {"payload": ["can't be blank"]}),
        ({"payload": [1]}, {"payload": ["is invalid"]}),
        ({"payload": "text"}, {"payload": ["is invalid"]}),
        ({"payload": {"x": "y" * 1000}}, {"payload": ["Payload size exceeds tenant limit"]}),
        ({"topic": None}, {"topic": ["can't be blank"]}),
        ({"topic": " "}, {"topic": ["can't be blank"]}),
        ({"topic": 7}, {"topic": ["is invalid"]}),
        ({"event": ""}, {"event": ["can't be blank"]}),
        ({"event": {}}, {"event": ["is invalid"]}),
        ({"private": "perhaps"}, {"private": ["is invalid"]}),
        ({"id": 7}, {"id": ["is invalid"]}),
    ],
)
def test_one_bad_message_refuses_the_batch_and_is_named_in_its_place(
    change: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    assert parse({**GOOD, **change}, GOOD) == InvalidBatch({"messages": [errors, {}]})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "can't be blank"),
        (b'{"messages":null}', "can't be blank"),
        (b'{"messages":[]}', "can't be blank"),
        (b'{"messages":{}}', "is invalid"),
        (b'{"messages":[7]}', "is invalid"),
    ],
)
def test_without_messages_there_is_one_error_for_all(body: bytes, text: str) -> None:
    assert parse_batch(body, payload_bytes_max=9) == InvalidBatch({"messages": [text]})


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"nonsense", b'{"a":', b"\xff", b"[" * 10_000])
def test_what_is_no_json_object_is_said_to_be_none(body: bytes) -> None:
    assert parse_batch(body, payload_bytes_max=9) is None


# The time that a loaded machine takes says nothing here.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@CALM
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing(body: bytes) -> None:
    parse_batch(body, payload_bytes_max=100)


@CALM
@given(st.dictionaries(st.sampled_from(["messages", "x"]), JSON | st.lists(JSON)))
def test_any_json_is_read_or_refused(document: Any) -> None:
    parse_batch(json.dumps(document).encode(), payload_bytes_max=100)


@CALM
@given(
    st.lists(
        st.fixed_dictionaries(
            {"topic": JSON, "event": JSON, "payload": JSON, "private": JSON, "id": JSON}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_accepted_is_whole_and_what_is_not_has_an_error(messages: list[Any]) -> None:
    parsed = parse(*messages)
    if isinstance(parsed, InvalidBatch):
        errors = parsed.errors["messages"]
        assert any(errors)
        return
    for entry, message in zip(parsed, messages, strict=True):
        told = json.loads(entry.envelope)
        assert (entry.topic, told["event"], told["payload"]) == (
            message["topic"],
            message["event"],
            message["payload"],
        )
