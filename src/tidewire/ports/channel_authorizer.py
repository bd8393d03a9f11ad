"""Who may do what on a private channel."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec


class Right(enum.Enum):
    """One thing that a policy allows. Source: wire specification 7.3."""

    READ_BROADCAST = "read broadcast"
    READ_PRESENCE = "read presence"
    WRITE_BROADCAST = "write broadcast"
    WRITE_PRESENCE = "write presence"
    WRITE_PERSISTENCE = "write persistence"


ALL_RIGHTS = frozenset(Right)
WRITE_RIGHTS = frozenset({Right.WRITE_BROADCAST, Right.WRITE_PRESENCE, Right.WRITE_PERSISTENCE})


class RightsQuestion(msgspec.Struct, frozen=True):
    """What one caller may do on one topic. Equal questions have one answer.

    Attributes:
        topic: The channel's name without prefix, as `realtime.topic()` gives it to policies.
        role: The role that the caller's token names.
        claims: All claims of the token, JSON text.
        headers: The ``x-`` headers of the caller's connection or request, JSON text.
        wanted: The rights that are asked about; no other one is evaluated or granted.
    """

    topic: str
    role: str
    claims: str
    headers: str = "{}"
    wanted: frozenset[Right] = ALL_RIGHTS


class Problem(enum.Enum):
    """Why rights could not be evaluated. Values are the wire's own (wire specification 4.2)."""

    POLICY = "rls_policy_error"
    CANCELED = "query_canceled"
    PARTITION = "missing_partition"
    SETTINGS = "unable_to_set_policies"


class ChannelRights(msgspec.Struct, frozen=True):
    """What somebody may do on a private channel.

    Attributes:
        granted: Rights that the policies give.
        failed: Rights that could not be evaluated: they are denied.
        state: What the answer was evaluated by; see `ChannelAuthorizer.state`. "" where nothing
            was evaluated as a whole.
        problem: What kept `failed` from being evaluated.
    """

    granted: frozenset[Right] = frozenset()
    failed: frozenset[Right] = frozenset()
    state: str = ""
    problem: Problem | None = None

    @property
    def may_read(self) -> bool:
        """Whether its owner may be in the channel at all."""
        return Right.READ_BROADCAST in self.granted or Right.READ_PRESENCE in self.granted


class ChannelAuthorizer(Protocol):
    """Evaluates the policies of private channels.

    Promise: grants nothing that the database would deny under that role, those claims and
    headers at that moment. Answers may be asked for by many at the same time: what waits is put
    together, so that the number of queries does not grow with the number of callers.
    """

    async def judge(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        """Answer in the order of the questions.

        A policy that raises for one question, or claims that it cannot read, deny what that
        question asks about, and no other's.

        Raises:
            DatabaseUnavailableError: No answer within the deadline; nothing was judged.
            LimitReachedError: More wait than may.
        """
        ...

    async def state(self) -> str:
        """A name of what answers follow from: policies, grants, memberships, functions.

        As long as it is the same, only the data that policies read can make them answer
        otherwise. An answer never bears a newer name than what it was evaluated by.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        ...
