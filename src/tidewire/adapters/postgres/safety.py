"""What of a database is unsafe: who may read and write more than its owner may think.

Nothing here keeps Tidewire from working, which is preflight's to find. Names of tables, policies
and roles are quoted as PostgreSQL quotes them, so that what is advised can be run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidewire.adapters.postgres.connect import SqlConnection, connection_to
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.sql_errors import address_of
from tidewire.adapters.postgres.table_name import quote_name
from tidewire.core.host_name import is_loopback

CHECKER = "tidewire_check"
VISITORS = ("anon", "authenticated")
_NAMES_MAX = 20


class _Table(msgspec.Struct, frozen=True):
    """A published table that a visitor may do something with."""

    name: str
    rights: list[str]


class _Policy(msgspec.Struct, frozen=True):
    """A policy that lets visitors do something."""

    name: str
    table: str
    command: str
    is_true: bool


class _Role(msgspec.Struct, frozen=True):
    """A role and what it may besides."""

    name: str
    rights: list[str]


_OPEN_TABLES = """
select format('%I.%I', n.nspname, c.relname) as name,
       array(select right_name from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) right_name
              where has_table_privilege('anon', c.oid, right_name)) as rights
  from pg_publication_tables t
  join pg_namespace n on n.nspname = t.schemaname
  join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
 where t.pubname = $1 and not c.relrowsecurity and has_schema_privilege('anon', n.oid, 'USAGE')
 order by 1
"""

_POLICIES = """
select quote_ident(p.policyname) as name, format('%I.%I', p.schemaname, p.tablename) as "table",
       p.cmd as command,
       coalesce(p.qual, p.with_check, '') = 'true' or p.with_check is not distinct from 'true'
         as is_true
  from pg_policies p
 where p.permissive = 'PERMISSIVE' and p.roles && array['anon', 'public']::name[]
   and case when p.schemaname = 'realtime' and p.tablename = 'messages'
            then coalesce(p.qual, '') = 'true' or coalesce(p.with_check, '') = 'true'
            else p.cmd <> 'SELECT' and p.schemaname <> 'realtime'
                 and exists (select from unnest(array['INSERT', 'UPDATE', 'DELETE']) right_name
                              where (p.cmd = 'ALL' or p.cmd = right_name)
                                and has_table_privilege('anon',
                                      format('%I.%I', p.schemaname, p.tablename), right_name)) end
 order by 2, 1
"""

_MIGHTY = """
select quote_ident(rolname) as name,
       array_remove(array[case when rolsuper then 'SUPERUSER' end,
                          case when rolbypassrls then 'BYPASSRLS' end,
                          case when rolcreaterole then 'CREATEROLE' end,
                          case when rolcreatedb then 'CREATEDB' end,
                          case when rolreplication then 'REPLICATION' end,
                          case when rolinherit and rolname = $2 then 'INHERIT' end], null) as rights
  from pg_roles where rolname = any($1::name[]) or rolname = $2
 order by 1
"""

_OWNED_BY_CHECKER = """
select format('%I.%I', n.nspname, c.relname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles r on r.oid = c.relowner
 where r.rolname = any($1::name[]) and c.relkind in ('r', 'p') and c.relpersistence <> 't'
 order by 1
"""

# Up to PostgreSQL 15 the member says whether it inherits, from 16 on each membership does.
_INHERITED = """
select quote_ident(granted.rolname)
  from pg_auth_members m
  join pg_roles granted on granted.oid = m.roleid
  join pg_roles member on member.oid = m.member
 where member.rolname = $1 and granted.rolname = any($2::name[])
   and {inherits} and not member.rolsuper
 order by 1
"""

_KEY_ONLY = """
select format('%I.%I', n.nspname, c.relname)
  from pg_publication_tables t
  join pg_namespace n on n.nspname = t.schemaname
  join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
 where t.pubname = $1 and c.relrowsecurity and c.relreplident <> 'f'
 order by 1
"""

_EARLY_CLAIMS = r"""
select format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid))
  from pg_proc f
  join pg_namespace n on n.oid = f.pronamespace
  join pg_language l on l.oid = f.prolang
 where f.oid >= 16384 and f.prokind = 'f' and f.provolatile = 'i'
   and l.lanname not in ('c', 'internal')
   and coalesce(pg_get_function_sqlbody(f.oid), f.prosrc)
       ~* '\m(current_setting|auth\s*\.\s*(uid|jwt|role|email))\s*\('
 order by 1
"""

_IS_ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


async def find_unsafe(url: str, *, publication: str) -> list[Finding]:
    """Look for what is unsafe; changes nothing.

    Args:
        url: The database, as the server would connect to it.
        publication: The one that is streamed.

    Raises:
        DatabaseUnavailableError: No answer.
        SetupError: The database refused the connection.
    """
    async with connection_to(url) as connection:
        return [
            *await _open_tables(connection, publication),
            *await _open_policies(connection),
            *await _mighty_roles(connection),
            *await _own_role(connection),
            *await _key_only_tables(connection, publication),
            *await _early_claims(connection),
            *await _unencrypted(connection, url),
        ]


async def _open_tables(connection: SqlConnection, publication: str) -> list[Finding]:
    if not await connection.fetchval("select 1 from pg_roles where rolname = 'anon'"):
        return []
    rows = await connection.fetch(_OPEN_TABLES, publication)
    tables = [table for row in rows if (table := _read(row, _Table)).rights]
    writable = [table for table in tables if set(table.rights) - {"SELECT"}]
    readable = [table for table in tables if table not in writable]
    findings: list[Finding] = []
    if writable:
        told = _listed([f"{t.name} ({', '.join(t.rights).lower()})" for t in writable])
        findings.append(
            Finding(
                "open_to_write",
                "warning",
                f"everybody who holds the public key may change these tables, which have no row "
                f"security: {told}",
                f"{_enable_statement(writable)} and write policies, or take the rights away: "
                f"REVOKE INSERT, UPDATE, DELETE ON {writable[0].name} FROM anon",
            )
        )
    if readable:
        findings.append(
            Finding(
                "open_to_read",
                "warning",
                "everybody who holds the public key sees every row of these published tables, "
                f"which have no row security: {_listed([t.name for t in readable])}",
                f"Where that is not meant: {_enable_statement(readable)} and write policies.",
            )
        )
    return findings


async def _open_policies(connection: SqlConnection) -> list[Finding]:
    if not await connection.fetchval("select 1 from pg_roles where rolname = 'anon'"):
        return []
    policies = [_read(row, _Policy) for row in await connection.fetch(_POLICIES)]
    topics = [policy for policy in policies if policy.table == "realtime.messages"]
    tables = [policy for policy in policies if policy.table != "realtime.messages"]
    findings: list[Finding] = []
    if topics:
        findings.append(
            Finding(
                "open_private_channels",
                "warning",
                "private channels are open to everybody who holds the public key: policies on "
                f"realtime.messages say true: {_listed([p.name for p in topics])}",
                "Ask for realtime.topic() and auth.uid() in them, or write them TO authenticated.",
            )
        )
    if tables:
        told = _listed([f"{p.name} on {p.table} ({p.command.lower()})" for p in tables])
        findings.append(
            Finding(
                "public_write_policies",
                "warning",
                f"policies let everybody who holds the public key write: {told}",
                "Write such policies TO authenticated, with a condition on auth.uid().",
            )
        )
    return findings


async def _mighty_roles(connection: SqlConnection) -> list[Finding]:
    roles = [_read(row, _Role) for row in await connection.fetch(_MIGHTY, list(VISITORS), CHECKER)]
    findings = [
        Finding(
            "mighty_role",
            "error",
            f"the role {role.name} may more than it should: {', '.join(role.rights)}",
            f"Run as a superuser: ALTER ROLE {role.name} "
            + " ".join(f"NO{right}" for right in role.rights),
        )
        for role in roles
        if role.rights
    ]
    owned = [
        row[0] for row in await _plain_rows(connection, _OWNED_BY_CHECKER, [*VISITORS, CHECKER])
    ]
    if owned:
        findings.append(
            Finding(
                "role_owns_tables",
                "error",
                f"visitors' roles own tables, whose row security does not bind them: "
                f"{_listed(owned)}",
                f"Run as a superuser: ALTER TABLE {owned[0]} OWNER TO another role",
            )
        )
    return findings


async def _own_role(connection: SqlConnection) -> list[Finding]:
    """What the server's own role may at all times; in its own cluster it is master on purpose."""
    if await connection.fetchval("select current_setting('tidewire.embedded', true) = 'on'"):
        return []
    number = int(await connection.fetchval("show server_version_num"))
    inherits = "m.inherit_option" if number >= 160_000 else "member.rolinherit"
    user: str = await connection.fetchval("select session_user::text")
    findings: list[Finding] = []
    if await connection.fetchval("select rolsuper from pg_roles where rolname = $1", user):
        findings.append(
            Finding(
                "superuser_connection",
                "warning",
                f"the server connects as {user}, a superuser, whom no policy binds",
                "Give it a role of its own with LOGIN and REPLICATION, a NOINHERIT member of "
                "anon, authenticated and service_role.",
            )
        )
    wanted = [*VISITORS, "service_role"]
    rows = await _plain_rows(connection, _INHERITED.format(inherits=inherits), user, wanted)
    inherited = [row[0] for row in rows]
    if inherited:
        names = ", ".join(inherited)
        how = (
            f"GRANT {names} TO {quote_name(user)} WITH INHERIT FALSE"
            if number >= 160_000
            else f"ALTER ROLE {quote_name(user)} NOINHERIT"
        )
        findings.append(
            Finding(
                "inherited_roles",
                "warning",
                f"{user} holds the rights of {names} at all times, not only while it acts as them",
                f"Run as a superuser: {how}",
            )
        )
    return findings


async def _key_only_tables(connection: SqlConnection, publication: str) -> list[Finding]:
    names = [row[0] for row in await _plain_rows(connection, _KEY_ONLY, publication)]
    if not names:
        return []
    return [
        Finding(
            "key_only_identity",
            "warning",
            "the log holds only the keys of old rows of these tables under row security, so who "
            f"saw a deleted or changed row cannot be judged by its other columns: {_listed(names)}",
            f"tidewire enable {names[0]} --full (updates and deletes write more log then)",
        )
    ]


async def _early_claims(connection: SqlConnection) -> list[Finding]:
    names = [row[0] for row in await _plain_rows(connection, _EARLY_CLAIMS)]
    if not names:
        return []
    return [
        Finding(
            "immutable_reads_claims",
            "warning",
            "these functions read who asks but are declared IMMUTABLE, so a plan that PostgreSQL "
            f"keeps may answer one user with another's rows: {_listed(names)}",
            f"ALTER FUNCTION {names[0]} STABLE",
        )
    ]


async def _unencrypted(connection: SqlConnection, url: str) -> list[Finding]:
    host = address_of(url).host
    is_near = is_loopback(host) or host.startswith("/") or host == "the default host"
    if is_near or await connection.fetchval(_IS_ENCRYPTED):
        return []
    return [
        Finding(
            "database_without_tls",
            "warning",
            f"passwords and rows cross the network to {host} in plain text",
            "Turn ssl on in PostgreSQL, and add ?sslmode=verify-full to database.url.",
        )
    ]


async def _plain_rows(
    connection: SqlConnection, query: str, *arguments: Any
) -> Sequence[Mapping[Any, Any]]:
    return await connection.fetch(query, *arguments)


def _read(row: Mapping[str, Any], kind: Any) -> Any:
    return msgspec.convert(dict(row.items()), kind)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_MAX])
    more = len(names) - _NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _enable_statement(tables: Sequence[_Table]) -> str:
    return f"ALTER TABLE {tables[0].name} ENABLE ROW LEVEL SECURITY"
