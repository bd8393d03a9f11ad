"""Random tables, rows, policies and users, by seed, for the property test of row security."""

from __future__ import annotations

import random
from typing import Any

from tests.support.judging import quoted

USERS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(6)]

SETUP = """
create extension if not exists citext;
create schema if not exists app; grant usage on schema app to authenticated, anon;
create schema if not exists private;
create type app.mood as enum ('sad', 'ok', 'it''s fine');
create type app.pair as (a int, b text);
create domain app.small as int check (value < 1000);
create domain app.named as text not null;
create table app.members (org bigint, member uuid, note text);
insert into app.members
  select i % 4, ('00000000-0000-4000-8000-' || lpad((i % 5)::text, 12, '0'))::uuid, 'n' || i
  from generate_series(1, 9) i;
create table app.secrets (org bigint primary key);
insert into app.secrets values (1), (3);
alter table app.members enable row level security;
create policy own on app.members for select using (member = auth.uid());
grant select on app.members to authenticated, anon;
create function public.is_member(wanted bigint) returns boolean
  language sql stable security definer set search_path = ''
  as $$ select exists (select from app.members where org = wanted and member = auth.uid()) $$;
create function private.sees_org(wanted bigint) returns boolean
  language plpgsql stable security definer set search_path = ''
  as $$ begin return exists (select from app.secrets where org = wanted); end $$;
create function public.helper(wanted text) returns text
  language sql immutable as $$ select upper(wanted) $$;
create function public.unqualified(wanted text) returns text
  language sql stable as $$ select helper(wanted) $$;
create view app.my_orgs as select org from app.members where member = auth.uid();
grant select on app.my_orgs to authenticated, anon;
create role {role} nologin;
"""

# name, SQL type, values as SQL, conditions that read it as {c}
COLUMNS: dict[str, tuple[str, list[str], list[str]]] = {
    "owner": (
        "uuid",
        [f"'{user}'" for user in USERS[:4]] + ["null"],
        ["{c} = auth.uid()", "(select auth.uid()) = {c}", "{c} = (auth.jwt() ->> 'sub')::uuid",
         "{c}::text = auth.jwt() ->> 'sub'", "{c} is not null", "auth.uid() is distinct from {c}"],
    ),
    "org": (
        "bigint",
        ["0", "1", "2", "-7", "9007199254740993", "null"],
        ["{c} = (auth.jwt() ->> 'org')::bigint", "(auth.jwt() ->> 'org')::int = {c}",
         "{c} in (0, 2)", "public.is_member({c})", "private.sees_org({c})",
         "{c} in (select org from app.members)", "{c} in (select org from app.my_orgs)",
         "exists (select from app.members m where m.org = {t}.{c} and m.member = auth.uid())",
         "100 / {c} > 10", "{c} = ((auth.jwt() -> 'app' ->> 'org'))::bigint",
         "({c} = (select (auth.jwt() ->> 'org')::bigint))"],
    ),
    "small": ("smallint", ["1", "2", "-3", "null"],
              ["{c} = (auth.jwt() ->> 'org')::smallint", "{c} > 0", "{c} = any (array[1, 2])"]),
    "title": ("text", ["''", "'T1'", "'it''s'", "e'a\\\\b\"{{}},\\n'", "'NULL'", "null", "'é'"],
              ["{c} like 'T%'", "{c} = 'auth.uid()'", "{c} = auth.jwt() ->> 'title'",
               "lower({c}) = 't1'", "{c} = e'a\\\\b\"{{}},\\n'", "public.unqualified({c}) = 'T1'",
               "{c} ~ (auth.jwt() ->> 'pattern')"]),
    "code": ("varchar(8)", ["'open'", "'done'", "'authenticated'::varchar(8)", "null", "'x '"],
             ["{c} = 'open'", "{c} = auth.role()", "{c} in ('open', 'x ')",
              "coalesce({c}, 'x') <> 'done'"]),
    "pad": ("char(5)", ["'ab'", "'ab   '", "'NULL'", "null"],
            ["{c} = 'ab'", "{c} = (auth.jwt() ->> 'title')::char(5)", "length({c}) = 2"]),
    "mood": ("app.mood", ["'sad'", "'ok'", "'it''s fine'", "null"],
             ["{c} = 'ok'", "{c} > 'sad'::app.mood", "{c}::text = auth.jwt() ->> 'title'"]),
    "price": ("numeric(10,2)", ["1.50", "'NaN'", "-0.01", "null", "99999999.99"],
              ["{c} > 1", "{c} <= (auth.jwt() ->> 'max')::numeric", "{c} = 'NaN'"]),
    "ratio": ("float8", ["'NaN'", "'-Infinity'", "0.1", "-0.0", "1e300", "null"],
              ["{c} > 0.05", "{c} = 0", "{c} = 'NaN'"]),
    "day": ("date", ["'2026-01-02'", "'infinity'", "'0044-03-15 BC'", "null"],
            ["{c} > '2026-01-01'", "{c} < current_date"]),
    "at": ("timestamptz", ["'2026-01-02 03:04:05.678901+02'", "'-infinity'", "null"],
           ["{c} > '2026-01-01 00:00+00'", "{c} = '2026-01-02 03:04:05.678901+02'"]),
    "span": ("interval", ["'-1 day +02:03'", "'1 year -2 mons'", "null"],
             ["{c} > '1 hour'", "{c} = '-1 day +02:03'"]),
    "tags": ("text[]", ["'{{a,b}}'", "array['x,y', null, '\"q\"', '']", "'{{}}'", "null"],
             ["'a' = any ({c})", "{c} @> array['x,y']", "cardinality({c}) = 0",
              "auth.role() = any ({c})"]),
    "grid": ("int[]", ["'[0:1]={{1,2}}'", "'{{{{1,2}},{{3,4}}}}'", "null"],
             ["{c}[0] = 1", "array_lower({c}, 1) = 0", "array_ndims({c}) = 2"]),
    "meta": ("jsonb", ["'null'", "'{{\"k\": 1, \"team\": \"red\"}}'", "'[1]'", "'\"x\"'", "null"],
             ["({c} ->> 'k')::int = 1", "{c} = 'null'", "{c} is null",
              "{c} ->> 'team' = auth.jwt() -> 'app' ->> 'team'", "{c} ? 'k'"]),
    "flag": ("boolean", ["true", "false", "null"], ["{c}", "not {c}", "{c} is not true"]),
    "blob": ("bytea", ["'\\x00ff'", "''", "null"], ["{c} = '\\x00ff'", "length({c}) = 0"]),
    "dom": ("app.small", ["1", "999", "null"], ["{c} = 1", "{c} > 5"]),
    "named": ("app.named", ["'a'", "''"], ["{c} = 'a'", "{c} <> auth.role()"]),
    "pair": ("app.pair", ["row(1, 'x,\"y')::app.pair", "row(null, null)::app.pair", "null"],
             ["({c}).a = 1", "({c}).b = 'x,\"y'", "{c} is null"]),
    "net": ("inet", ["'10.0.0.1/8'", "'::1'", "null"], ["{c} << '10.0.0.0/7'", "family({c}) = 6"]),
    "span4": ("int4range", ["'[1,5)'", "'empty'", "'(,3]'", "null"], ["{c} @> 2", "isempty({c})"]),
    "box": ("box", ["'(1,2),(3,4)'", "null"], ["{c} ~= '(1,2),(3,4)'", "{c} is null"]),
    "nick": ("citext", ["'Ann'", "'ANN'", "null"], ["{c} = 'ann'", "{c} = auth.role()::citext"]),
    "order": ("text", ["'a'", "null"], ["{c} = 'a'", "{c} = auth.email()"]),
    "Odd \"name\"": ("text", ["'a'", "'b'"], ["{c} = 'a'", "{c} <> auth.role()"]),
    "found": ("boolean", ["true", "false"], ["{c}"]),
    "big": ("text", ["repeat('x', 3)", "(select string_agg(md5(i::text), '') from "
                     "generate_series(1, 300) i)", "null"],
            ["length({c}) > 10", "{c} = 'xxx'"]),
}  # fmt: skip
ANYWHERE = [
    "true", "false", "auth.uid() is not null", "auth.role() = 'authenticated'",
    "auth.jwt() ->> 'title' = 'T1'", "(auth.jwt() ->> 'org')::int > 1",
    "auth.jwt() ? 'max'", "current_setting('request.jwt.claims', true)::jsonb ? 'org'",
    "exists (select from app.members)", "current_user = 'authenticated'",
    "(select count(*) from app.members) > 1", "auth.jwt() -> 'app' ->> 'team' = 'red'",
    "now() > '2020-01-01'", "id % 2 = 0", "{t}.id > 2", "xmin is not null",
    "(auth.jwt() ->> 'exp')::numeric > 100", "auth.email() like '%@example.com'",
    "case when id > 3 then auth.uid() is null else auth.role() = 'anon' end",
    "id between 2 and (auth.jwt() ->> 'max')::numeric",
]  # fmt: skip
TABLES = ["trips", "order", "Odd table", "members", "found"]


class World:
    """One table with rows, by a random generator."""

    def __init__(self, rng: random.Random, *, number: int, has_citext: bool) -> None:
        self.rng = rng
        self.table = f"{rng.choice(TABLES)} {number}" if rng.random() < 0.5 else f"trips_{number}"
        names = [name for name in COLUMNS if has_citext or name != "nick"]
        chosen = rng.sample(names, rng.randint(2, 8)) + rng.sample(["owner", "org"], 1)
        self.columns = list(dict.fromkeys(chosen))
        self.has_full_identity = rng.random() < 0.5

    def create(self) -> str:
        name = quoted(self.table)
        columns = ["id int primary key"]
        columns += [f"{quoted(column)} {COLUMNS[column][0]}" for column in self.columns]
        self.rng.shuffle(columns)
        full = f"alter table {name} replica identity full;" if self.has_full_identity else ""
        return f"""
            create table {name} ({", ".join(columns)});
            alter table {name} enable row level security;
            grant select on {name} to authenticated, anon;
            {full}
            alter publication supabase_realtime add table {name};
        """

    def insert(self, count: int) -> str:
        names = ", ".join(["id", *map(quoted, self.columns)])
        rows = [
            ", ".join([str(number), *(self.rng.choice(_values(c)) for c in self.columns)])
            for number in range(1, count + 1)
        ]
        return f"insert into {quoted(self.table)} ({names}) values ({'), ('.join(rows)})"

    def update(self) -> str:
        """Changes one column of some rows, so that large values of others are not in the log."""
        column = self.rng.choice(self.columns)
        value = self.rng.choice(_values(column))
        return f"update {quoted(self.table)} set {quoted(column)} = {value} where id % 3 = 0"

    def policies(self, role: str) -> list[str]:
        """Statements that give the table a new random set of policies."""
        rng = self.rng
        made: list[str] = []
        if rng.random() < 0.2:
            condition = self._comparison_with_a_claim()
            return [f"create policy p on {quoted(self.table)} using ({condition})"]
        for number in range(rng.choice([0, 1, 1, 1, 2, 3, 4])):
            kind = rng.choice(["permissive", "permissive", "restrictive"])
            command = rng.choice(["select", "select", "all", "update"])
            to = rng.choice(["authenticated", "public", "anon", "authenticated", role])
            made.append(
                f"create policy p{number} on {quoted(self.table)} as {kind} for {command} "
                f"to {to} using ({self._condition(2)})"
            )
        return made

    def _comparison_with_a_claim(self) -> str:
        """What is judged without a query when nothing is added to it."""
        fitting = [
            (column, condition)
            for column in self.columns
            for condition in COLUMNS[column][2]
            if "{c}" in condition and " = " in condition and "auth." in condition
        ]
        column, condition = self.rng.choice(fitting)
        return _fill(condition, column, self.table)

    def _condition(self, depth: int) -> str:
        rng = self.rng
        if depth == 0 or rng.random() < 0.45:
            return ("not " if rng.random() < 0.15 else "") + f"({self._atom()})"
        joint = rng.choice([" and ", " or "])
        return f"({self._condition(depth - 1)}{joint}{self._condition(depth - 1)})"

    def _atom(self) -> str:
        if self.rng.random() < 0.25:
            return _fill(self.rng.choice(ANYWHERE), "id", self.table)
        column = self.rng.choice(self.columns)
        return _fill(self.rng.choice(COLUMNS[column][2]), column, self.table)

    def claims(self) -> dict[str, Any]:
        """Somebody's claims; now and then such as no honest token has."""
        rng = self.rng
        claims: dict[str, Any] = {"role": "authenticated", "exp": rng.choice([50, 2_000_000_000])}
        if rng.random() < 0.9:
            claims["sub"] = rng.choice([*USERS, USERS[1].upper(), "not a uuid", "", None])
        if rng.random() < 0.9:
            claims["org"] = rng.choice([0, 1, 2, "2", " 1", "abc", 1.5, 10**20, None, "-7", True])
        if rng.random() < 0.5:
            claims["title"] = rng.choice(["T1", "it's", 'a\\b"{},\n', "ok", "ab", "é", 5, {"a": 1}])
        if rng.random() < 0.5:
            claims["max"] = rng.choice([0, 3, 100, "NaN", "x"])
        if rng.random() < 0.5:
            claims["app"] = rng.choice([{"team": "red", "org": 1}, {"org": "x"}, "red", []])
        if rng.random() < 0.3:
            claims["pattern"] = rng.choice(["^T", "(", ""])
        if rng.random() < 0.3:
            claims["email"] = rng.choice(["ann@example.com", "a"])
        return claims


def _values(column: str) -> list[str]:
    return [value.replace("{{", "{").replace("}}", "}") for value in COLUMNS[column][1]]


def _fill(condition: str, column: str, table: str) -> str:
    return condition.format(c=quoted(column), t=quoted(table))
