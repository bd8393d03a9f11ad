"""Offers the frames of changes whose viewers are known. Nothing here waits.

A change is rendered once for each (columns, outcome) and framed once for each (topic, ids), and
the same bytes are offered to everyone who is told the same.
"""

from __future__ import annotations

import logging

from tidewire.engine.change_batch import Step
from tidewire.engine.change_frames import NOT_RENDERED, ChangeShape
from tidewire.engine.change_plan import Guarded, Plan, Telling
from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.outcome import Outcome
from tidewire.engine.row_frame import RowFrame
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
        for telling, audiences in plan.open:
            frame = frames.frame(telling)
            for audience in audiences:
                audience.offer(frame)
            if telling.outcome:
                self._count(telling.outcome)
        if self._sends_key_only_deletes:
            for telling, audiences in plan.keyed:
                frame = frames.frame(telling)
                for audience in audiences:
                    audience.offer(frame)
        for guarded in plan.guarded:
            self._deliver_guarded(step, guarded, frames)
        self._stats.changes_total += bool(frames.count)

    def _deliver_guarded(self, step: Step, guarded: Guarded, frames: _Frames) -> None:
        for new, old, keys in sights(step, guarded.policy):
            offers = guarded.offers(new, old)
            made: dict[Telling, FanoutFrame] = {}
            for key in keys:
                for telling, audience in offers.get(key, ()):
                    frame = made.get(telling)
                    if frame is None:
                        frame = made[telling] = frames.frame(telling)
                    audience.offer(frame)
                    if telling.outcome:
                        self._count(telling.outcome)

    def _count(self, outcome: Outcome) -> None:
        """Count what is not plain; plain, the common one, is 0 and not asked about."""
        if outcome is Outcome.LEFT:
            self._stats.leaves_total += 1
        elif outcome is Outcome.FAILED:
            self._stats.policy_failures_total += 1


class _Frames:
    """Makes the frames of one change, and its data once for all that are told the same.

    Attributes:
        count: How many frames it made.
    """

    __slots__ = ("_data", "_step", "count")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._data: dict[tuple[ChangeShape, Outcome], bytes] = {}
        self.count = 0

    def frame(self, telling: Telling) -> FanoutFrame:
        self.count += 1
        key = (telling.shape, telling.outcome)
        data = self._data.get(key)
        if data is None:
            data = self._data[key] = self._render(*key)
        return RowFrame(telling.envelope, data, self._step.change, telling.shape.key_columns)

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
