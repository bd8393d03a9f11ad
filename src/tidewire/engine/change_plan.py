"""Who is offered a change that meets certain filters, and what must be asked first.

A `Plan` follows from the nodes that a change meets, so changes that meet the same ones share
it: `TableRoute` keeps plans until subscriptions, viewers or the catalogue change. Nothing in it
depends on the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tidewire.core.change import Change, ChangeKind
from tidewire.core.filter_index import Node
from tidewire.core.row_policy import RowPolicy
from tidewire.engine.audience import Audience
from tidewire.engine.change_frames import ChangeShape
from tidewire.engine.change_group import Binding, ChangeGroup, ShapeKey
from tidewire.engine.cohorts import rule_of
from tidewire.engine.fanout import Envelope
from tidewire.engine.outcome import Met, Outcome, Sight, outcome_of


class View:
    """How changes of a table look to a role with a selection.

    Attributes:
        shape: Columns and errors.
        policy: What rows are judged by; None when all may be seen.
        key: Names of the primary key.
    """

    __slots__ = ("key", "policy", "shape")

    def __init__(self, shape: ChangeShape, policy: RowPolicy | None, key: frozenset[str]) -> None:
        self.shape = shape
        self.policy = policy
        self.key = key


class Telling:
    """One frame to be made of a change: its data in one shape and outcome, for one topic's ids.

    Attributes:
        shape: Which columns.
        outcome: How the change is told.
        envelope: What stands around the data.
    """

    __slots__ = ("envelope", "outcome", "shape")

    def __init__(self, shape: ChangeShape, outcome: Outcome, envelope: Envelope) -> None:
        self.shape = shape
        self.outcome = outcome
        self.envelope = envelope


class Want:
    """What one group wants of a change, in one shape.

    Attributes:
        group: Who.
        shape: Which columns.
    """

    __slots__ = ("_filtered", "_met", "group", "shape")

    def __init__(self, group: ChangeGroup, shape: ChangeShape) -> None:
        self.group = group
        self.shape = shape
        self._met: dict[Met, list[bytes]] = {}
        self._filtered: set[bytes] = set()

    def add(self, met: Met, binding: Binding) -> None:
        """Let an entry take part. Equal entries of a channel share one id."""
        ids = self._met.setdefault(met, [])
        if binding.id_json not in ids:
            ids.append(binding.id_json)
        if binding.type_oids:
            self._filtered.add(binding.id_json)

    @property
    def asks_about_new(self) -> bool:
        """Whether the new row makes a difference."""
        return any(met is not Met.LEAVES for met in self._met)

    def told(self, new: Sight, old: Sight) -> list[tuple[Outcome, bytes]]:
        """(outcome, ids) for channels that see so much of the rows; each outcome once.

        An entry with a filter is told of no failure: that would say of a row, which may be hidden
        from its owner, that it meets the filter.
        """
        ids: dict[Outcome, dict[bytes, None]] = {}
        for met, of_met in self._met.items():
            outcome = outcome_of(met, new, old)
            told = of_met
            if outcome is Outcome.FAILED:
                told = [id_json for id_json in of_met if id_json not in self._filtered]
            if outcome is not None and told:
                ids.setdefault(outcome, {}).update(dict.fromkeys(told))
        return [(outcome, b",".join(of)) for outcome, of in ids.items()]


class _Tellings:
    """Tellings, one for all that would be the same bytes."""

    def __init__(self) -> None:
        self._known: dict[tuple[ChangeShape, Outcome, bytes, str], Telling] = {}

    def of(self, want: Want, outcome: Outcome, ids: bytes) -> Telling:
        key = (want.shape, outcome, ids, want.group.topic.wire_name)
        telling = self._known.get(key)
        if telling is None:
            telling = Telling(want.shape, outcome, want.group.envelope(ids))
            self._known[key] = telling
        return telling


Offers = list[tuple[Telling, list[Audience]]]
"""Each frame, and all channels that get it."""


class Guarded:
    """All who want a change and are bound by one policy.

    Attributes:
        policy: The policy.
        new_keys: Viewer keys of those to whom the new row matters.
        old_keys: Viewer keys of all.
        size: How many wants there are.
    """

    __slots__ = ("_by_sight", "_tellings", "_wants", "new_keys", "old_keys", "policy", "size")

    def __init__(self, policy: RowPolicy, wants: Sequence[Want]) -> None:
        self.policy = policy
        self.size = len(wants)
        rule = rule_of(policy)
        self.new_keys = _union(w.group.cohorts.keys(rule) for w in wants if w.asks_about_new)
        all_keys = _union(w.group.cohorts.keys(rule) for w in wants)
        # One object where they are equal: whoever keeps an index of them makes one.
        self.old_keys = self.new_keys if self.new_keys == all_keys else all_keys
        self._wants = wants
        self._tellings = _Tellings()
        self._by_sight: dict[tuple[Sight, Sight], dict[bytes, list[tuple[Telling, Audience]]]] = {}

    def offers(self, new: Sight, old: Sight) -> dict[bytes, list[tuple[Telling, Audience]]]:
        """By viewer key, the frames for channels that see so much of the rows."""
        offers = self._by_sight.get((new, old))
        if offers is None:
            offers = self._by_sight[new, old] = self._work_out(new, old)
        return offers

    def _work_out(self, new: Sight, old: Sight) -> dict[bytes, list[tuple[Telling, Audience]]]:
        rule = rule_of(self.policy)
        offers: dict[bytes, list[tuple[Telling, Audience]]] = {}
        for want in self._wants:
            tellings = [self._tellings.of(want, *told) for told in want.told(new, old)]
            if tellings:
                for key, audience in want.group.cohorts.by_key(rule):
                    of_key = offers.setdefault(key, [])
                    of_key += [(telling, audience) for telling in tellings]
        return offers


class Plan:
    """Who is offered a change.

    Attributes:
        version: Of the subscriptions, when it was made.
        open: Frames for those whom no policy binds, and errors in place of rows.
        keyed: Frames for those who are bound by a policy that has no row to judge: a DELETE of
            which the log holds the key only.
        guarded: Those who are bound, by policy.
        size: Roughly, what it holds.
    """

    __slots__ = ("guarded", "keyed", "open", "size", "version")

    def __init__(self, version: int, open_: Offers, keyed: Offers, guarded: list[Guarded]) -> None:
        self.version = version
        self.open = open_
        self.keyed = keyed
        self.guarded = guarded
        self.size = len(open_) + len(keyed) + sum(each.size for each in guarded)


def _offers(wants: Iterable[Want], as_: Outcome | None = None) -> Offers:
    """The frames for all channels of groups that see everything, or are told in one way only."""
    tellings, offers = _Tellings(), dict[Telling, list[Audience]]()
    for want in wants:
        for outcome, ids in want.told(Sight.VISIBLE, Sight.VISIBLE):
            telling = tellings.of(want, outcome if as_ is None else as_, ids)
            offers.setdefault(telling, []).extend(want.group.cohorts.audiences)
    return list(offers.items())


def make_plan(
    change: Change,
    hits: Sequence[Node[Binding]],
    former_hits: Sequence[Node[Binding]],
    view_of: Callable[[ShapeKey], View | None],
    version: int,
) -> Plan:
    """Work out who is offered a change.

    Args:
        change: Of which only kind and identity count.
        hits: Nodes that the row which filters look at meets.
        former_hits: For an UPDATE with its whole old row, nodes that the old row meets, as far
            as someone there wants to hear of leaves.
        view_of: How a table looks to whom; None when he may see nothing.
        version: Of the subscriptions.
    """
    kind = change.kind
    is_keyed = kind is ChangeKind.DELETE and not change.old_is_full
    views: dict[ShapeKey, View | None] = {}
    open_: dict[tuple[ChangeGroup, ChangeShape], Want] = {}
    keyed: dict[tuple[ChangeGroup, ChangeShape], Want] = {}
    guarded: dict[RowPolicy, dict[tuple[ChangeGroup, ChangeShape], Want]] = {}
    for binding, met in _met(change, hits, former_hits):
        shape_key = binding.shape_key
        if shape_key not in views:
            views[shape_key] = view_of(shape_key)
        view = views[shape_key]
        if view is None:
            continue
        policy = view.policy
        is_refused = view.shape.is_refused(kind)
        if is_refused and met in (Met.LEAVES, Met.STAYS):
            continue
        if policy is None or (is_refused and not binding.type_oids):
            wants = open_  # even an error tells what a filter says of the row that it is about
        elif not is_keyed:
            wants = guarded.setdefault(policy, {})
        elif view.key.issuperset(binding.type_oids):
            wants = keyed
        else:
            continue  # his filter would tell of a column that he may not have seen
        key = (binding.group, view.shape)
        want = wants.get(key)
        if want is None:
            want = wants[key] = Want(*key)
        want.add(Met.NEW if is_refused else met, binding)
    return Plan(
        version,
        _offers(open_.values()),
        _offers(keyed.values(), Outcome.KEY),
        [Guarded(policy, list(wants.values())) for policy, wants in guarded.items()],
    )


def _met(
    change: Change, hits: Sequence[Node[Binding]], former_hits: Sequence[Node[Binding]]
) -> Iterator[tuple[Binding, Met]]:
    """Each entry that the change concerns, and which rows meet it."""
    kind = change.kind
    if kind is ChangeKind.UPDATE and change.old_is_full:
        yield from _met_by_either(hits, former_hits)
        return
    for node in hits:
        for binding in node.targets:
            if kind in binding.kinds:
                yield binding, Met.NEW


def _met_by_either(
    hits: Sequence[Node[Binding]], former_hits: Sequence[Node[Binding]]
) -> Iterator[tuple[Binding, Met]]:
    """The same for an UPDATE whose two rows are there."""
    former, present = frozenset(former_hits), frozenset(hits)
    for node in hits:
        stayed = node in former
        for binding in node.targets:
            met = _met_by_new(binding, stayed=stayed)
            if met is not None:
                yield binding, met
    for node in former_hits:
        if node not in present:
            for binding in node.targets:
                if binding.hears_leaves:
                    yield binding, Met.LEAVES


def _met_by_new(binding: Binding, *, stayed: bool) -> Met | None:
    """How the new row, which meets the filter, and the old one, which did or not, meet it."""
    wants_updates = ChangeKind.UPDATE in binding.kinds
    if not binding.hears_leaves:
        return Met.NEW if wants_updates else None
    if wants_updates:
        return Met.BOTH if stayed else Met.ENTERS
    return Met.STAYS if stayed else None


def _union(sets: Iterable[frozenset[bytes]]) -> frozenset[bytes]:
    """Of one set it is that set, not a copy: who compares it finds it the same at once."""
    distinct = list(dict.fromkeys(sets))
    if len(distinct) == 1:
        return distinct[0]
    nobody: frozenset[bytes] = frozenset()
    return nobody.union(*distinct)
