"""The channels of a group, divided by what row policies can tell apart.

Theory of operation. Channels whose claims give the same viewer keys see the same rows, so they
form one *cohort* with one audience. As long as no policy binds the group there is one cohort;
when policies come, go or read other claims, `divide` moves every channel at once. A move writes
what is pending for the channel first, so no frame is lost, doubled or overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tidewire.core.row_policy import RowPolicy
from tidewire.engine.audience import Audience
from tidewire.engine.fanout import FanoutFrame
from tidewire.engine.member import Member

KeyRule = tuple[frozenset[str] | None, frozenset[str]]
"""What of the claims a policy's viewer keys are made of: policies with equal rules share keys."""

_NOTHING: frozenset[str] = frozenset()
_NO_KEYS: frozenset[bytes] = frozenset()


def rule_of(policy: RowPolicy) -> KeyRule:
    """The policy's rule."""
    return (policy.claims, policy.kept if policy.claims is None else _NOTHING)


class Cohort:
    """Channels that see the same rows.

    Attributes:
        keys: Their viewer key by each rule, in the order of the rules.
        audience: The channels.
    """

    __slots__ = ("audience", "keys")

    def __init__(self, keys: tuple[bytes, ...], audience: Audience) -> None:
        self.keys = keys
        self.audience = audience


class Cohorts:
    """Every channel of one group, in exactly one cohort each.

    What changes the set of cohorts says so by returning True: whoever keeps something that was
    derived from it must derive it again.
    """

    __slots__ = ("_cohorts", "_key_sets", "_make_audience", "_members", "_rules")

    def __init__(self, make_audience: Callable[[], Audience]) -> None:
        self._make_audience = make_audience
        self._rules: dict[KeyRule, RowPolicy] = {}
        self._cohorts: dict[tuple[bytes, ...], Cohort] = {}
        self._members: dict[Member, tuple[Mapping[str, Any], Cohort]] = {}
        self._key_sets: dict[KeyRule, frozenset[bytes]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: Member) -> bool:
        return member in self._members

    def add(self, member: Member, claims: Mapping[str, Any]) -> bool:
        """Let a channel have every frame offered from now on to those who see what it sees."""
        assert member not in self._members
        return self._seat(member, claims)

    def discard(self, member: Member) -> bool:
        """Let a channel have nothing more, also nothing pending. Absent is fine."""
        seat = self._members.pop(member, None)
        if seat is None:
            return False
        seat[1].audience.discard(member)
        return self._drop_if_empty(seat[1])

    def release(self, member: Member) -> bool:
        """Write what is pending for a channel, now, and let it have nothing more."""
        _, cohort = self._members.pop(member)
        cohort.audience.release(member)
        return self._drop_if_empty(cohort)

    def refresh(self, member: Member, claims: Mapping[str, Any]) -> bool:
        """Put a channel where its new claims belong. Absent is fine."""
        seat = self._members.get(member)
        if seat is None:
            return False
        cohort = seat[1]
        if self._keys_of(claims) == cohort.keys:
            self._members[member] = (claims, cohort)
            return False
        changed = self._seat(member, claims)
        cohort.audience.release(member)
        return self._drop_if_empty(cohort) or changed

    def divide(self, policies: Iterable[RowPolicy]) -> bool:
        """Divide the channels as far as these policies can tell them apart, and no further."""
        rules = {rule_of(policy): policy for policy in policies}
        if rules.keys() == self._rules.keys():
            return False
        self._rules = rules
        self._key_sets.clear()
        former, self._cohorts = self._members, {}
        self._members = {}
        for member, (claims, cohort) in former.items():
            self._seat(member, claims)
            cohort.audience.release(member)
        return True

    @property
    def audiences(self) -> list[Audience]:
        """All channels, as those whom the policies in force tell apart."""
        return [cohort.audience for cohort in self._cohorts.values()]

    def offer(self, frame: FanoutFrame) -> None:
        """Queue a frame for every channel."""
        for cohort in self._cohorts.values():
            cohort.audience.offer(frame)

    def keys(self, rule: KeyRule) -> frozenset[bytes]:
        """The viewer keys of all channels by one of the rules in force.

        Raises:
            KeyError: The channels are not divided by that rule.
        """
        keys = self._key_sets.get(rule)
        if keys is None:
            place = self._place(rule)
            keys = frozenset([cohort.keys[place] for cohort in self._cohorts.values()])
            self._key_sets[rule] = keys
        return keys

    def by_key(self, rule: KeyRule) -> Iterable[tuple[bytes, Audience]]:
        """Each cohort's viewer key by one of the rules in force, and its channels.

        Raises:
            KeyError: The channels are not divided by that rule.
        """
        place = self._place(rule)
        return [(cohort.keys[place], cohort.audience) for cohort in self._cohorts.values()]

    def _place(self, rule: KeyRule) -> int:
        if rule not in self._rules:
            raise KeyError(rule)
        return list(self._rules).index(rule)

    def _keys_of(self, claims: Mapping[str, Any]) -> tuple[bytes, ...]:
        return tuple([policy.viewer_key(claims) for policy in self._rules.values()])

    def _seat(self, member: Member, claims: Mapping[str, Any]) -> bool:
        keys = self._keys_of(claims)
        cohort = self._cohorts.get(keys)
        is_new = cohort is None
        if cohort is None:
            cohort = self._cohorts[keys] = Cohort(keys, self._make_audience())
            self._key_sets.clear()
        cohort.audience.add(member)
        self._members[member] = (claims, cohort)
        return is_new

    def _drop_if_empty(self, cohort: Cohort) -> bool:
        if len(cohort.audience):
            return False
        if self._cohorts.get(cohort.keys) is cohort:
            del self._cohorts[cohort.keys]
            self._key_sets.clear()
        return True
