"""The publication that carries broadcasts from SQL, beside the one of the live tables.

It publishes inserts into `realtime.messages` alone, under the name of the partitioned table. One
that Supabase made, without that option, is used as it is: its rows come under the names of
partitions.
"""

from __future__ import annotations

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - the driver ships none

from tidewire.adapters.postgres.connect import SqlConnection
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.table_name import quote_name

MESSAGES_PUBLICATION = "supabase_realtime_messages_publication"
"""As Supabase calls it."""

_PUBLISHED = """
select exists (select from pg_publication_tables
                where pubname = $1 and schemaname = 'realtime'
                  and starts_with(tablename, 'messages'))
"""


async def ensure_messages_publication(connection: SqlConnection) -> Finding | None:
    """Make the publication unless it exists; says what is missing when it cannot be made.

    Without it everything but broadcasts from SQL works.
    """
    if await connection.fetchval(_PUBLISHED, MESSAGES_PUBLICATION):
        return None
    name = quote_name(MESSAGES_PUBLICATION)
    try:
        async with connection.transaction():
            if await _exists(connection):
                await connection.execute(f"alter publication {name} add table realtime.messages")
            else:
                await connection.execute(
                    f"create publication {name} for table realtime.messages"
                    " with (publish = 'insert', publish_via_partition_root = true)"
                )
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return None  # another was first
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
        return Finding(
            "broadcasts_from_sql_off",
            "warning",
            f"realtime.send() reaches nobody: {error}",
            f"Run as the owner of realtime.messages: CREATE PUBLICATION {name} FOR TABLE "
            "realtime.messages WITH (publish = 'insert', publish_via_partition_root = true), "
            "then restart Tidewire.",
        )
    return None


async def _exists(connection: SqlConnection) -> bool:
    query = "select exists (select from pg_publication where pubname = $1)"
    return bool(await connection.fetchval(query, MESSAGES_PUBLICATION))
