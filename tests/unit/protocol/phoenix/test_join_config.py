import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.protocol.phoenix.join_config import JoinConfig, parse_join_config


def parse(payload: object) -> JoinConfig:
    return parse_join_config(json.dumps(payload).encode())


def test_what_supabase_js_sends_is_read():
    config = parse(
        {
            "config": {
                "broadcast": {"ack": True, "self": True},
                "presence": {"key": "user-7", "enabled": True},
                "postgres_changes": [{"event": "*", "schema": "public", "table": "trips"}],
                "private": False,
            },
            "access_token": "abc",
        }
    )
    assert config == JoinConfig(
        broadcast_ack=True,
        broadcast_self=True,
        presence_key="user-7",
        presence_enabled=True,
        entries=({"event": "*", "schema": "public", "table": "trips"},),
        access_token="abc",
    )


def test_what_supabase_py_sends_is_read_with_its_nulls():
    config = parse({"config": {"broadcast": None, "presence": None, "postgres_changes": None}})
    assert config == JoinConfig()


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("FALSE", False), (True, True)])
def test_booleans_may_be_written_as_text(written, meant):
    assert parse({"config": {"private": written}}).private is meant


@pytest.mark.parametrize(("key", "shown"), [(None, ""), ("", ""), (7, "7"), (True, "true")])
def test_a_presence_key_may_be_any_scalar(key, shown):
    assert parse({"config": {"presence": {"key": key}}}).presence_key == shown


def test_an_invalid_part_is_named_and_the_rest_counts():
    config = parse({"config": {"broadcast": 5, "presence": {"enabled": True}, "private": []}})
    assert config.presence_enabled
    assert not config.private
    assert len(config.problems) == 2


def test_null_entries_are_dropped_and_others_noted():
    config = parse({"config": {"postgres_changes": [None, {"table": "t"}, 5]}})
    assert config.entries == ({"table": "t"},)
    assert config.problems


def test_opaque_keys_leave_the_connections_token_in_force():
    assert parse({"access_token": "sb_publishable_1"}).access_token is None
    assert parse({"access_token": "a", "user_token": "sb_x"}).access_token is None


def test_the_user_token_comes_before_the_access_token():
    assert parse({"access_token": "a", "user_token": "u"}).access_token == "u"


KEYS = [
    "config",
    "broadcast",
    "presence",
    "ack",
    "self",
    "key",
    "enabled",
    "private",
    "postgres_changes",
    "access_token",
    "user_token",
    "event",
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_no_payload_makes_it_raise(payload):
    config = parse(payload)
    assert isinstance(config.broadcast_ack, bool)
    assert all(isinstance(entry, dict) for entry in config.entries)


@given(st.binary(max_size=50))
def test_bytes_that_are_no_json_give_the_defaults(data):
    parse_join_config(data)
