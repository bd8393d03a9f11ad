"""The login that judges rows: `tidewire_check`, made by a migration, its password set here."""

from __future__ import annotations

import logging
import urllib.parse

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none

from tidewire.adapters.postgres.connect import SqlConnection, connect_raw, connection_to
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.sql_errors import DRIVER_ERRORS
from tidewire.core.errors import RealtimeError

logger = logging.getLogger(__name__)

CHECKER = "tidewire_check"
CLOSE_DEADLINE_S = 1.0

_IS_SAFE = """
select not r.rolsuper and not r.rolbypassrls and not r.rolinherit and r.rolcanlogin
from pg_catalog.pg_roles r where r.rolname = $1
"""


async def look_at_checker(url: str, *, given: str = "") -> list[Finding]:
    """Whether rows are judged by a login of no rights of its own; changes nothing.

    Args:
        url: Of the database.
        given: Address by a login that somebody made for this; "" for our own.

    Raises:
        DatabaseUnavailableError: It does not answer.
        SetupError: It refuses.
    """
    async with connection_to(given or url) as connection:
        name = await connection.fetchval("select session_user::text") if given else CHECKER
        if await connection.fetchval(_IS_SAFE, name):
            return []
    return [
        Finding(
            "checker",
            "warning",
            f"rows are judged by {name}, which may more than take roles"
            if given
            else f"there is no login {CHECKER} without rights of its own",
            "A policy runs its author's code, which can take back the role that it is run as. Give "
            "a login as database.checker_url that is no superuser, has neither BYPASSRLS nor "
            "INHERIT, and is a member of the roles that tokens name.",
        )
    ]


class CheckerLogin:
    """Where rows are judged: by a login that is given, else by our own, else by the server's."""

    def __init__(self, url: str, *, password: str, given: str = "") -> None:
        """Nothing is asked yet.

        Args:
            url: Of the database, by a user with the rights of the migrations.
            password: Of our own login.
            given: Address by a login that somebody made for this; "" for none.
        """
        self._url = url
        self._password = password
        self._given = given
        self._told = False

    async def url(self) -> str:
        """The address to connect to now."""
        if self._given:
            return self._given
        own = await checker_url(self._url, password=self._password)
        if own is None and not self._told:
            self._told = True
            logger.warning(
                "rows are judged by the user of the database's address, so code in policies could "
                "take its rights",
                extra={"advice": "Give a login of little right as database.checker_url."},
            )
        return own or self._url

    async def grant_role(self, role: str) -> None:
        """Let the login take one more role, where that may be allowed."""
        await self._grant("grant %I to %I", role)

    async def grant_schema(self, schema: str) -> None:
        """Let the login look into one more schema, where that may be allowed."""
        await self._grant("grant usage on schema %I to %I", schema)

    async def _grant(self, form: str, name: str) -> None:
        if self._given:
            return
        try:
            async with connection_to(self._url) as connection:
                statement: str = await connection.fetchval(
                    "select pg_catalog.format($1, $2::text, $3::text)", form, name, CHECKER
                )
                await connection.execute(statement)
        except (RealtimeError, *DRIVER_ERRORS) as error:
            logger.warning(
                "the login that judges rows cannot be given a right",
                extra={"right": name, "login": CHECKER, "reason": type(error).__name__},
            )


async def checker_url(url: str, *, password: str) -> str | None:
    """Make the login ready for use.

    Safe to call again and by several servers: a password that does not fit is set anew, and
    sessions that are open stay so.

    Args:
        url: Of the database, by a user with the rights of the migrations.
        password: What the login gets.

    Returns:
        The address by which the login gets into the same database; None where there is no such
        login, it cannot be changed, or the server does not let it in.
    """
    own = _with_user(url, CHECKER, password)
    try:
        async with connection_to(url) as connection:
            if not await connection.fetchval(_IS_SAFE, CHECKER):
                return None
            if await _gets_in(own):
                return own
            await _set_password(connection, password)
        return own if await _gets_in(own) else None
    except (RealtimeError, *DRIVER_ERRORS) as error:
        logger.info("no login of its own to judge rows", extra={"reason": type(error).__name__})
        return None


async def _gets_in(url: str) -> bool:
    try:
        connection = await connect_raw(url)
    except asyncpg.InvalidAuthorizationSpecificationError:  # a wrong password among them
        return False
    await connection.close(timeout=CLOSE_DEADLINE_S)
    return True


async def _set_password(connection: SqlConnection, password: str) -> None:
    statement: str = await connection.fetchval(
        "select pg_catalog.format('alter role %I password %L', $1::text, $2::text)",
        CHECKER,
        password,
    )
    for attempt in (1, 2):
        try:
            await connection.execute(statement)
        except asyncpg.InternalServerError:  # "tuple concurrently updated": another server's start
            if attempt == 2:
                raise
        else:
            return


def _with_user(url: str, user: str, password: str) -> str:
    """The address with another user, whichever way it names its own."""
    parts = urllib.parse.urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    login = f"{user}:{urllib.parse.quote(password, safe='')}"
    query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if name not in ("user", "password")]
    database = parts.path
    if not database.strip("/"):
        former = urllib.parse.unquote(parts.username or dict(query).get("user", ""))
        database = f"/{urllib.parse.quote(dict(query).get('dbname', former), safe='')}"
    return urllib.parse.urlunsplit(
        parts._replace(
            netloc=f"{login}@{place}",
            path=database,
            query=urllib.parse.urlencode(kept, safe="/:,"),
        )
    )
