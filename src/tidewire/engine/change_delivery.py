"""Offers the frames of changes whose viewers are known. Nothing here waits.

A change is rendered once for each (columns, outcome) and framed once for each (topic, ids), and
the same bytes are offered to everyone who is told the same.
"""

from __future__ import annotations

import logging

from tidewire.engine.change_batch import Step
from tidewire.engine.change_frames import NOT_RENDERED, ChangeShape
from tidewire.engine.change_plan import Guarded, Plan, Want
from tidewire.engine.fanout import EnvelopedFrame, FanoutFrame
from tidewire.engine.outcome import Outcome, Sight
from tidewire.engine.stats import Stats
from tidewire.engine.visibility import sights

logger = logging.getLogger(__name__)


class ChangeDelivery:
    """Turns planned and judged steps into frames."""

    def __init__(self, stats: Stats, *, sends_key_only_deletes: bool) -> None:
        """Make it.

        Args:
            stats: Counts.
            sends_key_only_deletes: Whether a DELETE of which the log holds the key only is told
                to those whom row security binds; nothing is there to be judged.
        """
        self._stats = stats
        self._sends_key_only_deletes = sends_key_only_deletes

    def deliver(self, step: Step, plan: Plan) -> None:
        """Offer one change to all who are told of it."""
        frames = _Frames(step)
        for want in plan.open:
            for outcome, ids in want.told(Sight.VISIBLE, Sight.VISIBLE):
                want.group.cohorts.offer(frames.frame(want, outcome, ids))
                self._count(outcome)
        if self._sends_key_only_deletes:
            for want in plan.keyed:
                want.group.cohorts.offer(frames.frame(want, Outcome.KEY, want.all_ids()))
        for guarded in plan.guarded:
            self._deliver_guarded(step, guarded, frames)
        if frames:
            self._stats.changes_total += 1

    def _deliver_guarded(self, step: Step, guarded: Guarded, frames: _Frames) -> None:
        for new, old, keys in sights(step, guarded.policy):
            for key in keys:
                for want, audience in guarded.receivers(key):
                    for outcome, ids in want.told(new, old):
                        audience.offer(frames.frame(want, outcome, ids))
                        self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        if outcome is Outcome.LEFT:
            self._stats.leaves_total += 1
        elif outcome is Outcome.FAILED:
            self._stats.policy_failures_total += 1


class _Frames:
    """The frames of one change, made on first use."""

    __slots__ = ("_data", "_frames", "_step")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._data: dict[tuple[ChangeShape, Outcome], bytes] = {}
        self._frames: dict[tuple[ChangeShape, Outcome, bytes, str], FanoutFrame] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, want: Want, outcome: Outcome, ids: bytes) -> FanoutFrame:
        topic = want.group.topic.wire_name
        key = (want.shape, outcome, ids, topic)
        frame = self._frames.get(key)
        if frame is None:
            data = self._data_of(want.shape, outcome)
            frame = self._frames[key] = EnvelopedFrame(want.group.envelope(ids), data)
        return frame

    def _data_of(self, shape: ChangeShape, outcome: Outcome) -> bytes:
        data = self._data.get((shape, outcome))
        if data is None:
            data = self._data[shape, outcome] = self._render(shape, outcome)
        return data

    def _render(self, shape: ChangeShape, outcome: Outcome) -> bytes:
        step = self._step
        try:
            return shape.data(step.change, step.timestamp, outcome)
        except Exception:
            # One table's row must not stop the stream of all; its subscribers are told.
            relation = step.change.relation
            logger.exception(
                "a change cannot be rendered",
                extra={"table": f"{relation.schema}.{relation.name}"},
            )
            return shape.error_data(step.change, step.timestamp, NOT_RENDERED)
