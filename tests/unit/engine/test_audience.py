import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.frames import split_frames
from tidewire.engine.audience import SLICE_WRITES, Audience, Fanout
from tidewire.engine.fanout import LANE_V1, LANE_V2, LANE_V2_DEFLATE, push_frame


class Receiver:
    def __init__(self, lane: int = LANE_V2) -> None:
        self.lane = lane
        self.writes: list[bytes] = []
        self.write = self.writes.append
        self.transport = self

    def payloads(self) -> list[object]:
        return [json.loads(p)[4] for data in self.writes for _, p in split_frames(data)]


def frame(number: int):
    return push_frame("realtime:t", "e", str(number).encode())


async def turn() -> None:
    await asyncio.sleep(0)


def make() -> tuple[Fanout, Audience]:
    fanout = Fanout(asyncio.get_running_loop())
    return fanout, Audience(fanout)


async def test_a_turns_frames_reach_each_member_with_one_write():
    _, audience = make()
    members = [Receiver() for _ in range(5)]
    for member in members:
        audience.add(member)
    for number in range(3):
        audience.offer(frame(number))
    await turn()
    for member in members:
        assert len(member.writes) == 1
        assert member.payloads() == [0, 1, 2]


async def test_a_member_that_joins_gets_only_what_is_offered_after():
    _, audience = make()
    early, late = Receiver(), Receiver()
    audience.add(early)
    audience.offer(frame(0))
    audience.add(late)
    audience.offer(frame(1))
    await turn()
    assert early.payloads() == [0, 1]
    assert late.payloads() == [1]


async def test_a_member_that_left_gets_nothing_pending():
    _, audience = make()
    stays, leaves = Receiver(), Receiver()
    audience.add(stays)
    audience.add(leaves)
    audience.offer(frame(0))
    audience.discard(leaves)
    await turn()
    assert stays.payloads() == [0]
    assert leaves.writes == []


async def test_the_skipped_member_gets_only_the_others_frames():
    _, audience = make()
    sender, other = Receiver(), Receiver()
    audience.add(sender)
    audience.add(other)
    audience.offer(frame(0), sender)
    audience.offer(frame(1))
    audience.offer(frame(2), other)
    await turn()
    assert sender.payloads() == [1, 2]
    assert other.payloads() == [0, 1]


async def test_each_lane_gets_its_own_form():
    _, audience = make()
    v1, v2, deflate = Receiver(LANE_V1), Receiver(LANE_V2), Receiver(LANE_V2_DEFLATE)
    for member in (v1, v2, deflate):
        audience.add(member)
    body = json.dumps("x" * 1000).encode()
    audience.offer(push_frame("realtime:t", "e", body))
    await turn()
    assert json.loads(split_frames(v1.writes[0])[0][1])["payload"] == "x" * 1000
    assert v2.payloads() == deflate.payloads() == ["x" * 1000]
    assert len(deflate.writes[0]) < len(v2.writes[0]) / 5


async def test_a_frame_is_encoded_once_however_many_members():
    fanout, audience = make()
    made: list[int] = []

    def encode(version: int) -> tuple[bytes, bool]:
        made.append(version)
        return b'[null,null,"t","e",1]', True

    from tidewire.engine.fanout import FanoutFrame

    for _ in range(1000):
        audience.add(Receiver())
    audience.offer(FanoutFrame(encode))
    fanout.flush()
    assert made == [2]


async def test_a_large_audience_is_written_in_slices_with_the_loop_between():
    _, audience = make()
    members = [Receiver() for _ in range(SLICE_WRITES * 2 + 10)]
    for member in members:
        audience.add(member)
    audience.offer(frame(0))
    written = []
    for _ in range(3):
        await turn()
        written.append(sum(len(member.writes) for member in members))
    assert written == [SLICE_WRITES, SLICE_WRITES * 2, SLICE_WRITES * 2 + 10]


async def test_a_member_that_leaves_between_slices_gets_nothing_more():
    _, audience = make()
    members = [Receiver() for _ in range(SLICE_WRITES + 50)]
    for member in members:
        audience.add(member)
    audience.offer(frame(0))
    await turn()
    waiting = [member for member in members if not member.writes]
    audience.discard(waiting[0])
    await turn()
    assert waiting[0].writes == []
    assert all(member.writes for member in waiting[1:])


async def test_a_released_member_gets_what_was_offered_and_nothing_more():
    _, audience = make()
    stays, goes = Receiver(), Receiver()
    audience.add(stays)
    audience.add(goes)
    audience.offer(frame(0))
    audience.offer(frame(1), goes)
    audience.release(goes)
    audience.offer(frame(2))
    assert goes.payloads() == [0]
    await turn()
    assert goes.payloads() == [0]
    assert stays.payloads() == [0, 1, 2]


async def test_a_member_released_between_slices_still_gets_its_run():
    _, audience = make()
    members = [Receiver() for _ in range(SLICE_WRITES + 50)]
    for member in members:
        audience.add(member)
    audience.offer(frame(0))
    await turn()
    waiting = next(member for member in members if not member.writes)
    audience.release(waiting)
    await turn()
    assert waiting.payloads() == [0]


actions = st.lists(
    st.tuples(
        st.sampled_from(["offer", "offer", "skip", "join", "leave", "release", "turn"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(actions)
def test_every_member_gets_exactly_what_was_offered_while_it_was_in(script):
    """Against an oracle that delivers at once, except to those who left before the turn."""

    async def run() -> None:
        fanout, audience = make()
        members = [Receiver(lane) for lane in (LANE_V1, LANE_V2, LANE_V2_DEFLATE) * 2]
        due: dict[Receiver, list[int]] = {member: [] for member in members}
        inside: set[Receiver] = set()
        number = 0
        for action, which in script:
            member = members[which]
            if action in ("offer", "skip"):
                skip = member if action == "skip" else None
                audience.offer(frame(number), skip)
                for other in inside - {skip}:
                    due[other].append(number)
                number += 1
            elif action == "join" and member not in inside:
                audience.add(member)
                inside.add(member)
            elif action == "leave" and member in inside:
                fanout.flush()
                audience.discard(member)
                inside.discard(member)
            elif action == "release" and member in inside:
                audience.release(member)
                inside.discard(member)
            elif action == "turn":
                await turn()
        fanout.flush()
        for member in members:
            got = []
            for data in member.writes:
                for _, payload in split_frames(data):
                    decoded = json.loads(payload)
                    got.append(decoded["payload"] if member.lane == LANE_V1 else decoded[4])
            assert got == due[member]

    asyncio.run(run())
