"""Rights on private channels by rules in memory: for tests, and for servers without policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidewire.ports.channel_authorizer import (
    ALL_RIGHTS,
    ChannelRights,
    Problem,
    Right,
    RightsQuestion,
)

Rule = Callable[[RightsQuestion], frozenset[Right]]
"""Gives the rights of a caller; what it raises denies everything."""


def service_role_only(question: RightsQuestion) -> frozenset[Right]:
    """Everything to the role that no policy binds, nothing to others."""
    return ALL_RIGHTS if question.role == "service_role" else frozenset()


class MemoryChannelRules:
    """Implements `ports.channel_authorizer.ChannelAuthorizer` by one function."""

    def __init__(self, rule: Rule = service_role_only) -> None:
        self._rule = rule
        self._version = 0

    def set_rule(self, rule: Rule) -> None:
        """Judge by another rule from now on, as after a change of policies."""
        self._rule = rule
        self._version += 1

    async def judge(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        """Answer in the order of the questions."""
        return [self._answer(question) for question in questions]

    async def state(self) -> str:
        """A name of the present rule."""
        return str(self._version)

    def _answer(self, question: RightsQuestion) -> ChannelRights:
        state = str(self._version)
        try:
            granted = self._rule(question)
        except Exception:  # noqa: BLE001 - a rule is a user's, as a policy is
            return ChannelRights(failed=question.wanted, state=state, problem=Problem.POLICY)
        return ChannelRights(granted & question.wanted, state=state)
