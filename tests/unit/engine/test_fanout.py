"""Frames made once for all receivers: the same bytes as the codec's, put together faster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.engine.fanout import (
    LANE_V1,
    LANE_V1_DEFLATE,
    LANE_V2,
    LANE_V2_DEFLATE,
    Envelope,
    EnvelopedFrame,
    push_frame,
)
from tidewire.protocol.phoenix.codec_json import encode_v1, encode_v2
from tidewire.protocol.websocket.frames import compressed_text_frame, text_frame

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
payloads = st.integers(0, 70_000).map(lambda size: b'"%b"' % (b"x" * size))


@given(topic=names, event=names, payload=payloads)
def test_a_push_is_what_the_codecs_make_of_it(topic: str, event: str, payload: bytes) -> None:
    frame = push_frame(topic, event, payload)
    v1, v2 = encode_v1(topic, event, payload), encode_v2(topic, event, payload)
    assert frame.for_lane(LANE_V1) == text_frame(v1)
    assert frame.for_lane(LANE_V2) == text_frame(v2)
    assert frame.for_lane(LANE_V1_DEFLATE) == compressed_text_frame(v1)
    assert frame.for_lane(LANE_V2_DEFLATE) == compressed_text_frame(v2)


@pytest.mark.parametrize("lane", [LANE_V1, LANE_V2])
def test_an_envelope_puts_its_common_parts_around_what_differs(lane: int) -> None:
    envelope = Envelope("realtime:t", "e", opening=b'{"ids":[7],"data":', closing=b"}")
    whole = push_frame("realtime:t", "e", b'{"ids":[7],"data":{"a":1}}')
    assert EnvelopedFrame(envelope, b'{"a":1}').for_lane(lane) == whole.for_lane(lane)


def test_a_frame_is_built_once_per_lane() -> None:
    frame = push_frame("realtime:t", "e", b"{}")
    assert frame.for_lane(LANE_V2) is frame.for_lane(LANE_V2)
