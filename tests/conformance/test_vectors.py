"""The recorded dialogues of tests/vectors/phoenix against the real server.

Steps marked ``<?`` stand for frames that may come in either order among themselves.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer

FOLDER = Path(__file__).parents[1] / "vectors" / "phoenix"
DIALOGUES = json.loads((FOLDER / "dialogues.json").read_text())["dialogues"]
CASES = [
    pytest.param(dialogue[key], f"{key[1]}.0.0", id=f"{key} {dialogue['name']}")
    for dialogue in DIALOGUES
    for key in ("v1", "v2")
    if key in dialogue
]


def to_wire(frame: Any) -> str | bytes:
    """A frame of the file as it goes over the wire."""
    if isinstance(frame, str):
        return bytes.fromhex(frame.removeprefix("hex:"))
    return json.dumps(frame)


def from_wire(raw: RawSocket, item: Any) -> Any:
    """What came, in the form of the file."""
    if isinstance(item, bytes):
        return item
    if raw.version == 2:
        return item
    _, ref, topic, event, payload = item
    return {"topic": topic, "event": event, "payload": payload, "ref": ref}


def matches(expected: Any, seen: Any, names: dict[str, Any]) -> bool:
    """Whether `seen` is as expected, names bound on the way."""
    if isinstance(expected, str) and expected.startswith("$"):
        return names.setdefault(expected, seen) == seen
    if isinstance(expected, dict):
        return (
            isinstance(seen, dict)
            and set(expected) == set(seen)
            and all(matches(value, seen[name], names) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(seen, list)
            and len(expected) == len(seen)
            and all(matches(one, other, names) for one, other in zip(expected, seen, strict=True))
        )
    if isinstance(expected, str) and expected.startswith("hex:"):
        return to_wire(expected) == seen
    return type(expected) is type(seen) and expected == seen


@pytest.mark.parametrize(("steps", "vsn"), CASES)
async def test_a_recorded_dialogue(
    server: TidewireServer, steps: list[tuple[str, Any]], vsn: str
) -> None:
    names: dict[str, Any] = {}
    async with raw_socket(server.url, server.anon_key, vsn=vsn) as raw:
        for direction, run in itertools.groupby(steps, key=lambda step: step[0]):
            frames = [frame for _, frame in run]
            for frame in frames if direction == ">" else ():
                await raw.socket.send(to_wire(frame))
            if direction == ">":
                continue
            seen = [from_wire(raw, await raw.frames.next()) for _ in frames]
            if direction == "<?":
                assert set_matches(frames, seen, names), (frames, seen)
            else:
                for frame, one in zip(frames, seen, strict=True):
                    assert matches(frame, one, names), (frame, one)
        await raw.heartbeat()
        assert not raw.frames.items


def set_matches(expected: list[Any], seen: list[Any], names: dict[str, Any]) -> bool:
    """Whether the frames match in some order."""
    for order in itertools.permutations(seen):
        tried = dict(names)
        if all(matches(one, other, tried) for one, other in zip(expected, order, strict=True)):
            names.update(tried)
            return True
    return False
