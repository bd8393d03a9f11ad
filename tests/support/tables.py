"""Tables for tests, made the way a user makes them by hand."""

from __future__ import annotations

import itertools
import os

import asyncpg

ALL_ROLES = "anon, authenticated, service_role"
_numbers = itertools.count(1)


async def connect(database_url: str) -> asyncpg.Connection:
    return await asyncpg.connect(database_url, timeout=10, command_timeout=15)


def unused_name(word: str = "t") -> str:
    """A table name that no other test has."""
    return f"{word}_{os.getpid()}_{next(_numbers)}"


async def make_table(
    database: asyncpg.Connection,
    columns: str = "id bigint primary key, name text",
    *,
    name: str | None = None,
    publish: bool = True,
    roles: str = ALL_ROLES,
    row_security: bool = False,
    full_identity: bool = False,
) -> str:
    """A new table in `public`, published, and granted to these roles only; gives its name."""
    name = name or unused_name()
    statements = [f"create table {name} ({columns})", f"revoke all on {name} from {ALL_ROLES}"]
    if roles:
        statements.append(f"grant select on {name} to {roles}")
    if row_security:
        statements.append(f"alter table {name} enable row level security")
    if full_identity:
        statements.append(f"alter table {name} replica identity full")
    if publish:
        statements.append(f"alter publication supabase_realtime add table {name}")
    await database.execute("; ".join(statements))
    return name
