"""Revocations in the table `realtime.revocations`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it carries no types; only errors are used

from tidewire.adapters.postgres.query_session import QuerySession, Row, StatementError
from tidewire.core.errors import DatabaseUnavailableError, SetupError
from tidewire.ports.revocation_store import Revocation

DEADLINE_S = 5.0

# A row is needed as long as a token that it concerns can live: a token that names a user or session
# lives $1 seconds at most. Of those that concern everybody, tokens of nobody in particular
# among them, the latest moment is needed for ever.
_ROWS = """
select id, session_id, user_id,
       extract(epoch from issued_before)::float8 as issued_before_s,
       extract(epoch from kept_until)::float8 as kept_until_s
  from (select *,
               case when session_id is null and user_id is null then 'infinity'
                    when expires_at is not null then expires_at
                    when session_id is null and not isfinite(issued_before) then 'infinity'
                    else greatest(revoked_at, case when isfinite(issued_before)
                                                   then issued_before end)
                         + make_interval(secs => $1)
               end as kept_until
          from realtime.revocations) r
"""
_LOAD = _ROWS + " where kept_until > now()"
_FIND = _ROWS + " where id = any($2::bigint[])"
_REVOKE = """
select realtime.tidewire_revoke(
  $1::text, $2::text, to_timestamp($3::float8), to_timestamp($4::float8)) as id
"""
_PRUNE = f"""
with over as (
  select id from ({_ROWS}) k where kept_until_s <= extract(epoch from now())
  union all
  select id from realtime.revocations
   where session_id is null and user_id is null
     and issued_before < (select max(issued_before) from realtime.revocations
                           where session_id is null and user_id is null)
), gone as (delete from realtime.revocations where id in (select id from over) returning id)
select count(*)::int as count from gone
"""  # noqa: S608 - put together from constants
_ABSENT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
)


class PostgresRevocations:
    """Implements `ports.revocation_store.RevocationStore`."""

    def __init__(self, dsn: str, *, token_age_s_max: float) -> None:
        """Connect on the first question.

        Args:
            dsn: Where the database is.
            token_age_s_max: How long a token that names a user or a session lives at most.
        """
        self._age_s = token_age_s_max
        self._session = QuerySession(
            dsn,
            deadline_s=DEADLINE_S,
            statement_timeout_s=DEADLINE_S,
            name="tidewire revocations",
            may_write=True,
        )

    async def load(self) -> Sequence[Revocation]:
        """See the port."""
        return [_revocation(row) for row in await self._fetch(_LOAD, self._age_s)]

    async def find(self, ids: Collection[int]) -> Sequence[Revocation]:
        """See the port."""
        rows = await self._fetch(_FIND, self._age_s, list(ids))
        return [_revocation(row) for row in rows]

    async def revoke(
        self,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        issued_before_s: float | None = None,
        expires_at_s: float | None = None,
    ) -> Revocation:
        """See the port."""
        rows = await self._fetch(_REVOKE, session_id, user_id, issued_before_s, expires_at_s)
        (made,) = await self.find([rows[0]["id"]])
        return made

    async def prune(self) -> int:
        """See the port."""
        return (await self._fetch(_PRUNE, self._age_s))[0]["count"]

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def _fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        try:
            return await self._session.fetch(query, *arguments)
        except StatementError as error:
            if isinstance(error.__cause__, _ABSENT):
                raise SetupError(
                    f"realtime.revocations cannot be used: {error}",
                    "Have the owner of the schema realtime run the migrations.",
                ) from error
            raise DatabaseUnavailableError(f"the database refused: {error}") from error


def _revocation(row: Row) -> Revocation:
    return Revocation(
        session_id=row["session_id"],
        user_id=row["user_id"],
        issued_before_s=row["issued_before_s"],
        kept_until_s=row["kept_until_s"],
        id=row["id"],
    )
