"""One session that tries rights out, many questions in one statement."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tidewire.adapters.postgres.channel_rights import statements
from tidewire.adapters.postgres.query_session import Connection, QuerySession, Row
from tidewire.ports.channel_authorizer import ChannelRights, Problem, Right, RightsQuestion

logger = logging.getLogger(__name__)

LOGGED_MAX = 10
"""Problems told in the log for one statement; the rest is counted."""

ROLES_MAX = 1_000
"""Roles remembered as seen; tokens name few."""

GrantRole = Callable[[str], Awaitable[None]]
"""Tries to make the session's user a member of a role; it may fail quietly."""

_READS = {Right.READ_BROADCAST: "broadcast", Right.READ_PRESENCE: "presence"}
_WRITES = {
    Right.WRITE_BROADCAST: "broadcast",
    Right.WRITE_PRESENCE: "presence",
    Right.WRITE_PERSISTENCE: "persistence",
}
_NAMES = {right.value: right for right in Right}
# What an INSERT raises for a table without a partition for today; a policy that denies raises
# another.
_CHECK_VIOLATION = "23514"


class RightsSession:
    """A session, and whether it has the function that tries rights."""

    def __init__(self, session: QuerySession, grant_role: GrantRole | None = None) -> None:
        self._session = session
        self._grant_role = grant_role
        self._roles: set[str] = set()
        self._connection: Connection | None = None

    async def answer(self, questions: Sequence[RightsQuestion]) -> list[ChannelRights]:
        """Try the rights of all questions in one statement.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
            StatementError: The statement as a whole was refused.
        """
        async with self._session.connected() as connection:
            await self._prepare(connection)
            await self._take_roles(connection, {question.role for question in questions})
            rows = await connection.fetch(
                statements.CALL,
                [question.topic for question in questions],
                [question.role for question in questions],
                [question.claims for question in questions],
                [question.headers for question in questions],
                [_extensions(question, _READS) for question in questions],
                [_extensions(question, _WRITES) for question in questions],
            )
        return self._read(questions, rows)

    async def state(self) -> str:
        """The state of the catalogue that rights follow from.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
            StatementError: It was refused.
        """
        rows = await self._session.fetch(statements.STATE)
        return str(rows[0]["state"])

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def _prepare(self, connection: Connection) -> None:
        if connection is self._connection:
            return
        places = await connection.fetch(statements.FIND_PROBE)
        if not places:
            await connection.fetch(statements.MAKE_DIRECT_PROBE)
        place = str(places[0]["place"]) if places else ""
        await connection.fetch(statements.make_function(place))
        self._roles.clear()
        self._connection = connection

    async def _take_roles(self, connection: Connection, roles: set[str]) -> None:
        """See to it once that the session's user may take these roles."""
        new = roles - self._roles
        if not new:
            return
        rows = await connection.fetch(statements.MAY_TAKE, list(new))
        for row in rows:
            if not row["may_take"] and self._grant_role is not None:
                await self._grant_role(row["role"])
        if len(self._roles) >= ROLES_MAX:
            self._roles.clear()
        self._roles.update(row["role"] for row in rows)

    def _read(
        self, questions: Sequence[RightsQuestion], rows: Sequence[Row]
    ) -> list[ChannelRights]:
        answers: list[ChannelRights] = []
        troubles = 0
        for question, row in zip(questions, rows, strict=True):
            if row["code"] is None:
                granted = frozenset(_NAMES[name] for name in row["granted"])
                answers.append(ChannelRights(granted, state=row["state"]))
                continue
            answers.append(_troubled(question, row))
            troubles += 1
            if troubles <= LOGGED_MAX:
                tell_problem(question, place=row["place"], code=row["code"])
        if troubles > LOGGED_MAX:
            logger.warning("RlsPolicyError", extra={"more": troubles - LOGGED_MAX})
        return answers


def tell_problem(question: RightsQuestion, *, place: str, code: str) -> None:
    """Log that rights could not be evaluated: neither claims nor what the policy said of them."""
    logger.warning(
        "RlsPolicyError",
        extra={"topic": question.topic, "role": question.role, "at": place, "sqlstate": code},
    )


def _extensions(question: RightsQuestion, names: Mapping[Right, str]) -> str:
    return " ".join([name for right, name in names.items() if right in question.wanted])


def _troubled(question: RightsQuestion, row: Row) -> ChannelRights:
    """The answer to a question of which something raised."""
    granted = frozenset(_NAMES[name] for name in row["granted"])
    names = row["failed"]
    failed = question.wanted if "all" in names else frozenset(_NAMES[name] for name in names)
    problem = Problem.POLICY
    if row["code"] == _CHECK_VIOLATION:
        problem = Problem.PARTITION
    elif row["place"] in ("probe", "role"):
        problem = Problem.SETTINGS
    return ChannelRights(granted, failed, row["state"], problem)
