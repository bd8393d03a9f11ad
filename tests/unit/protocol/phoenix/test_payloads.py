import json

from tidewire.core.presence_state import PresenceDiff, PresenceMeta
from tidewire.protocol.phoenix import payloads


def test_presence_metas_carry_their_refs():
    metas = {"ann": (PresenceMeta("r2", b'{"name":"Ann"}', "r1"), PresenceMeta("r3", b"{}"))}
    assert json.loads(payloads.presence_map(metas)) == {
        "ann": {
            "metas": [
                {"name": "Ann", "phx_ref": "r2", "phx_ref_prev": "r1"},
                {"phx_ref": "r3"},
            ]
        }
    }


def test_a_tracked_phx_ref_does_not_replace_the_servers():
    metas = {"k": (PresenceMeta("mine", b'{"phx_ref":"forged"}'),)}
    assert json.loads(payloads.presence_map(metas))["k"]["metas"][0]["phx_ref"] == "mine"


def test_a_diff_always_has_both_sides():
    assert json.loads(payloads.presence_diff(PresenceDiff({}, {}))) == {"joins": {}, "leaves": {}}


def test_keys_are_quoted():
    metas = {'a"b\n': (PresenceMeta("r", b"{}"),)}
    assert list(json.loads(payloads.presence_map(metas))) == ['a"b\n']


def test_a_join_reply_always_lists_its_entries():
    assert json.loads(payloads.joined([])) == {
        "status": "ok",
        "response": {"postgres_changes": []},
    }


def test_a_system_message_has_the_four_keys_and_tolerated_extras():
    message = json.loads(payloads.system("trips", "system", "ok", "resync", {"reason": "x"}))
    assert message == {
        "extension": "system",
        "status": "ok",
        "message": "resync",
        "channel": "trips",
        "reason": "x",
    }


def test_a_broadcast_in_json_form_has_meta_only_when_there_is_one():
    assert json.loads(payloads.broadcast_object("e", b"[1]")) == {
        "event": "e",
        "payload": [1],
        "type": "broadcast",
    }
    with_meta = json.loads(payloads.broadcast_object("e", b"1", b'{"id":"7"}'))
    assert with_meta["meta"] == {"id": "7"}
