"""A connection without a socket."""

import asyncio
import json
from collections.abc import Sequence

from tests.support.frames import split_frames
from tidewire.core.rate_limit import Meter
from tidewire.engine.channel import Channel
from tidewire.engine.fanout import LANE_V2
from tidewire.ports.token_verifier import Claims
from tidewire.protocol.phoenix.codec_json import encode_v2
from tidewire.protocol.phoenix.frame import ClientFrame
from tidewire.protocol.websocket.frames import text_frame


class FakePeer:
    """A connection whose frames a test reads."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.lane = LANE_V2
        self.written: list[bytes] = []
        self.write = self.written.append
        self.transport = self
        self.claims = Claims("anon", 2e9, {})
        self.token = ""
        self.sends_join_refs = True
        self.policy_headers = "{}"
        self.channels: dict[str, Channel] = {}
        self.joining: dict[str, asyncio.Task[None]] = {}
        self.meter: Meter | None = None
        self.join_meter: Meter | None = None
        self.track_meter: Meter | None = None
        self.last_heard_s = 0.0
        self.held_s: list[float] = []

    def hold(self, delay_s: float) -> None:
        self.held_s.append(delay_s)

    def carry_out(self, frames: Sequence[ClientFrame]) -> None:
        raise AssertionError("no push waits here")

    def send(self, topic, event, payload, *, join_ref, ref) -> None:
        self.write(text_frame(encode_v2(topic, event, payload, join_ref=join_ref, ref=ref)))

    def events(self, event: str) -> list[dict]:
        frames = [json.loads(p) for data in self.written for _, p in split_frames(data)]
        return [frame[4] for frame in frames if frame[3] == event]
