"""People come, move, die and return; everyone who watches ends with the model's picture.

Nobody who returns within the grace may ever be missing from anyone's picture meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.house import Client, House

TOPIC = "realtime:room"
KEYS = [f"k{number}" for number in range(6)]
GRACE_S = 3.0


class Observer:
    """Applies presence_state and diffs as the stock clients do."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.shown: dict[str, dict[str, Any]] = {}
        self.vanished: set[str] = set()
        self._read = 0

    def catch_up(self) -> None:
        frames = self.client.frames()
        for _, _, _, event, payload in frames[self._read :]:
            if event == "presence_state":
                self.shown = {key: self._metas(of) for key, of in payload.items()}
            elif event == "presence_diff":
                for key, of in payload["joins"].items():
                    self.shown.setdefault(key, {}).update(self._metas(of))
                for key, of in payload["leaves"].items():
                    self._leave(key, of)
        self._read = len(frames)

    def _leave(self, key: str, of: dict[str, Any]) -> None:
        metas = self.shown.get(key, {})
        for ref in self._metas(of):
            assert metas.pop(ref, None) is not None, "told of a leave of nobody"
        if not metas:
            self.shown.pop(key, None)
            self.vanished.add(key)

    @staticmethod
    def _metas(of: dict[str, Any]) -> dict[str, Any]:
        return {
            meta["phx_ref"]: {k: v for k, v in meta.items() if not k.startswith("phx_")}
            for meta in of["metas"]
        }

    def picture(self) -> dict[str, list[str]]:
        return {
            key: sorted(json.dumps(meta) for meta in metas.values())
            for key, metas in self.shown.items()
        }


class Person:
    """One connection of the model."""

    def __init__(self, client: Client, key: str) -> None:
        self.client = client
        self.key = key
        self.payload: Any = None


class PresenceStorm(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.loop.run(self._make())

    async def _make(self) -> None:
        self.house = House(channel_presence_per_s=0, presence_grace_s=GRACE_S)

    def run(self, step: Any) -> Any:
        async def call() -> Any:
            result = step()
            await self.house.settle()
            return result

        return self.loop.run(call())

    @initialize()
    def begin(self) -> None:
        self.people: list[Person] = []
        self.lingering: list[tuple[float, str, Any]] = []
        self.number = 0
        self.observers = [Observer(self.run(self._observer)) for _ in range(3)]

    def _observer(self) -> Client:
        client = self.house.connect()
        client.join(TOPIC, {"presence": {"key": "", "enabled": True}})
        return client

    @rule(key=st.sampled_from(KEYS))
    def arrive(self, key: str) -> None:
        if len(self.people) < 20:
            self.people.append(Person(self.run(lambda: self._join(key)), key))

    def _join(self, key: str) -> Client:
        client = self.house.connect()
        client.join(TOPIC, {"presence": {"key": key, "enabled": False}})
        return client

    @rule(which=st.integers(0, 19), same=st.booleans())
    def track(self, which: int, same: bool) -> None:
        if not self.people:
            return
        person = self.people[which % len(self.people)]
        self.number += 1
        waiting = [entry for entry in self.lingering if entry[1] == person.key]
        payload = waiting[0][2] if same and waiting else {"n": self.number}
        if person.payload is None and waiting:
            # It takes over an equal one, else the oldest, of those who may return.
            equal = [entry for entry in waiting if entry[2] == payload]
            self.lingering.remove((equal or waiting)[0])
        person.payload = payload
        push = {"type": "presence", "event": "track", "payload": payload}
        self.run(lambda: person.client.send(TOPIC, "presence", push))

    @rule(which=st.integers(0, 19))
    def untrack(self, which: int) -> None:
        if self.people:
            person = self.people[which % len(self.people)]
            person.payload = None
            self.run(lambda: person.client.send(TOPIC, "presence", {"event": "untrack"}))

    @rule(which=st.integers(0, 19), code=st.sampled_from([1000, 1001, 1005, 1006, None]))
    def end(self, which: int, code: int | None) -> None:
        if not self.people:
            return
        person = self.people.pop(which % len(self.people))
        if code not in (1000, 1001) and person.payload is not None:
            end_s = self.house.clock.now_s + GRACE_S
            self.lingering.append((end_s, person.key, person.payload))
        self.run(lambda: person.client.end(code))

    @rule(which=st.integers(0, 19))
    def leave(self, which: int) -> None:
        if self.people:
            person = self.people.pop(which % len(self.people))
            self.run(lambda: person.client.send(TOPIC, "phx_leave", {}))

    @rule(which=st.integers(0, 19))
    def join_again_on_the_same_socket(self, which: int) -> None:
        if not self.people:
            return
        person = self.people[which % len(self.people)]
        if person.payload is not None:
            end_s = self.house.clock.now_s + GRACE_S
            self.lingering.append((end_s, person.key, person.payload))
            person.payload = None
        config = {"presence": {"key": person.key, "enabled": False}}
        self.run(lambda: person.client.join(TOPIC, config))

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.9, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.house.clock.advance(seconds)
        now_s = self.house.clock.now_s
        self.lingering = [entry for entry in self.lingering if entry[0] > now_s]
        self.run(self.house.node.presence.end_grace)

    @rule()
    def somebody_new_watches(self) -> None:
        if len(self.observers) < 8:
            self.observers.append(Observer(self.run(self._observer)))

    @invariant()
    def everyone_sees_the_models_picture(self) -> None:
        if not hasattr(self, "observers"):
            return
        expected: dict[str, list[str]] = {}
        here = [(person.key, person.payload) for person in self.people if person.payload]
        for key, payload in here + [(key, payload) for _, key, payload in self.lingering]:
            expected.setdefault(key, []).append(json.dumps(payload))
        for observer in self.observers:
            observer.vanished.clear()
            observer.catch_up()
            assert observer.picture() == {key: sorted(of) for key, of in expected.items()}
            # No flicker: whoever is shown after a step was not gone within it.
            assert not observer.vanished & expected.keys()

    def teardown(self) -> None:
        self.loop.close()


def test_everyone_who_watches_ends_with_the_models_picture():
    sizes = settings(max_examples=40, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(PresenceStorm, settings=sizes)
