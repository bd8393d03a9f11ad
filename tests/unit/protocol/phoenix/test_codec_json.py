import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.phoenix.codec_json import (
    decode_v1,
    decode_v2,
    encode_v1,
    encode_v2,
    is_json,
)
from tidewire.protocol.phoenix.serializer import V1, V2, serializer_for

# Lone surrogates cannot stand in UTF-8, so no client can send them as characters.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
refs = st.none() | texts | st.integers(-(2**53), 2**53)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(refs, refs, texts, texts, json_values)
def test_v2_array_is_read_field_by_field(join_ref, ref, topic, event, payload):
    frame = decode_v2(json.dumps([join_ref, ref, topic, event, payload]).encode())
    assert (frame.topic, frame.event) == (topic, event)
    assert json.loads(frame.join_ref) == join_ref
    assert json.loads(frame.ref) == ref
    assert json.loads(frame.payload) == payload


@given(refs, texts, texts, json_values)
def test_v1_object_is_read_in_any_key_order(ref, topic, event, payload):
    text = json.dumps({"ref": ref, "payload": payload, "event": event, "topic": topic})
    frame = decode_v1(text.encode())
    assert (frame.topic, frame.event, frame.join_ref) == (topic, event, b"null")
    assert json.loads(frame.payload) == payload


@given(refs, refs, texts, texts, json_values)
def test_what_the_server_sends_is_what_a_client_reads(join_ref, ref, topic, event, payload):
    join_json, ref_json, body = (json.dumps(x).encode() for x in (join_ref, ref, payload))
    v2 = encode_v2(topic, event, body, join_ref=join_json, ref=ref_json)
    assert json.loads(v2) == [join_ref, ref, topic, event, payload]
    v1 = encode_v1(topic, event, body, ref=ref_json)
    assert json.loads(v1) == {"topic": topic, "event": event, "payload": payload, "ref": ref}


def test_elements_after_the_fifth_are_ignored():
    assert decode_v2(b'["1","2","t","e",{},7,8]').payload == b"{}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"nonsense",
        b'["1","2","t","e"]',
        b'["1","2",3,"e",{}]',
        b'["1","2","t",null,{}]',
        b'["1","2","t","e",{]',
        b'["1","2","t","e",{}] x',
        b'["1","2","\xff","e",{}]',
        b'["1","2","t","e",' + b"[" * 100_000,
    ],
)
def test_v2_refuses_what_is_no_frame(text):
    with pytest.raises(ProtocolViolationError):
        decode_v2(text)


@pytest.mark.parametrize("missing", ["topic", "event", "payload", "ref"])
def test_v1_needs_its_four_keys(missing):
    whole = {"topic": "t", "event": "e", "payload": {}, "ref": None}
    del whole[missing]
    with pytest.raises(ProtocolViolationError):
        decode_v1(json.dumps(whole).encode())


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data):
    for decode in (decode_v1, decode_v2):
        with contextlib.suppress(ProtocolViolationError):
            decode(data)


@given(st.binary(max_size=60))
def test_is_json_agrees_with_the_standard_library_when_it_says_yes(data):
    if is_json(data):
        json.loads(data)


@pytest.mark.parametrize(
    ("vsn", "expected"),
    [(None, V1), ("1.0.0", V1), ("1.0.7", V1), ("2.0.0", V2), ("2.0.12", V2)],
)
def test_vsn_names_its_serializer(vsn, expected):
    assert serializer_for(vsn) is expected


@pytest.mark.parametrize("vsn", ["", "1", "1.0", "1.1.0", "2.1.0", "3.0.0", "2.0.0 ", "x"])
def test_other_versions_have_none(vsn):
    assert serializer_for(vsn) is None
