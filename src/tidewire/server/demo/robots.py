"""Robot organizers: edit the sample data at a steady, bounded rate, so there is something to see.

They do what organizers do, through plain SQL like any other program. A database that goes away
is waited for; a statement that a constraint refuses is no harm.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from tidewire.server.demo.sql import DATABASE_ERRORS, ConstraintError, SqlConnection, connect

_logger = logging.getLogger(__name__)

NOTES_COUNT_MAX = 200
"""With more notes than this the oldest goes when one is written."""

STATEMENT_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0

# Each takes the robot's id as $1 and a random number from 0 to 2^31 - 1 as $2. (weight, SQL)
_EDITS: tuple[tuple[int, str], ...] = (
    (
        30,
        "update public.trips set updated_by = $1, seats_taken ="
        " greatest(0, least(seats, seats_taken + (array[-2, -1, 1, 2])[1 + $2::int % 4]))"
        " where id = (select id from public.trips order by random() limit 1)",
    ),
    (
        20,
        "update public.trips set updated_by = $1,"
        " status = (array(select s from unnest(enum_range(null::public.trip_status)) s"
        " where s <> status))[1 + $2::int % 5]"
        " where id = (select id from public.trips order by random() limit 1)",
    ),
    (
        10,
        "update public.trips set updated_by = $1,"
        " price = least(9000, greatest(100, round(price * (95 + $2::int % 11) / 100, 2)))"
        " where id = (select id from public.trips order by random() limit 1)",
    ),
    (
        20,
        "update public.clients set updated_by = $1,"
        " status = (array(select s from unnest(enum_range(null::public.client_status)) s"
        " where s <> status))[1 + $2::int % 3]"
        " where id = (select id from public.clients order by random() limit 1)",
    ),
    (
        10,
        "update public.clients set updated_by = $1,"
        " tags = ('{company,family,returning,vip}'::text[])[1 + $2::int % 3 : $2::int % 5]"
        " where id = (select id from public.clients order by random() limit 1)",
    ),
    (
        15,
        "insert into public.notes (author_id, client_id, body) select $1, id,"
        """ (array['Spoke on the phone, all clear.', 'Sent the itinerary.',"""
        """ 'Asked for a quieter room.', 'Moved the pick-up to the station.',"""
        """ 'Paid the second instalment.'])[1 + $2::int % 5]"""
        " from public.clients order by random() limit 1",
    ),
    (
        5,
        "delete from public.notes where $1::uuid is not null and $2::int >= 0"
        " and id = (select id from public.notes where not pinned order by created_at limit 1)",
    ),
)
_TRIM_NOTES = (
    "delete from public.notes where id in"
    " (select id from public.notes order by created_at desc offset $1 limit 50)"
)

Sleep = Callable[[float], Awaitable[None]]


class Robots:
    """Edits the sample data until cancelled.

    Args:
        url: Database.
        edits_per_s: Edits of all robots together; the rate is never passed.
        chance: Source of what they do.
        sleep: How to wait; a test owns time through it.
    """

    def __init__(
        self,
        url: str,
        *,
        edits_per_s: float,
        chance: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._url = url
        self._interval_s = 1 / edits_per_s
        self._chance = chance or random.Random()  # noqa: S311 - sample edits
        self._sleep = sleep
        self._retry_s = RETRY_FIRST_S
        self.edits_total = 0

    async def run(self) -> None:
        """Edit for ever; reconnects with growing pauses while the database is away."""
        while True:
            try:
                await self._edit_until_broken()
            except DATABASE_ERRORS as error:
                _logger.info("robots wait for the database", extra={"reason": type(error).__name__})
            await self._sleep(self._retry_s * self._chance.uniform(0.5, 1.0))
            self._retry_s = min(self._retry_s * 2, RETRY_MAX_S)

    async def _edit_until_broken(self) -> None:
        connection = await connect(
            self._url, name="tidewire demo robots", statement_timeout_s=STATEMENT_TIMEOUT_S
        )
        try:
            found = await connection.fetch("select id from public.organizers")
            robots = [row["id"] for row in found]
            while robots:
                await self._edit(connection, self._chance.choice(robots))
                self._retry_s = RETRY_FIRST_S
                await self._sleep(self._interval_s)
        finally:
            connection.terminate()

    async def _edit(self, connection: SqlConnection, robot: object) -> None:
        weights = [weight for weight, _ in _EDITS]
        (_, statement) = self._chance.choices(_EDITS, weights)[0]
        try:
            await connection.execute(statement, robot, self._chance.randrange(2**31))
        except ConstraintError:
            return  # somebody deleted the row that it pointed to
        self.edits_total += 1
        if statement.startswith("insert"):
            await connection.execute(_TRIM_NOTES, NOTES_COUNT_MAX)
