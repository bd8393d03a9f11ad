"""The temporary functions that judge rows, as SQL.

Each is made once for a policy and session, in the session's own temporary schema, so nothing
lasting is made in anybody's database. All take the same arguments:

    role text, claims text[], columns text[], rows int4, path text, budget int4

and answer one line for each viewer that sees a row or failed: its number, the numbers of the rows
that it sees, and of those for which the policy raised. Numbers count from 1. `columns` holds one
array literal for each column that is handed over, whose elements are the rows' values in the text
form of the stream; an array type's input function reads each by that of its elements, so every
value is exactly what the row held.

The expression is the policies' own, deparsed; users' values are in arguments alone. Names of ours
begin with a tilde, and a name that is both a column and a variable is the column.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidewire.core.policy_sets import VIEWER
from tidewire.core.row_policy import PolicyColumn, RowPolicy
from tidewire.protocol.pgwire.quoting import quote_identifier, quote_literal

_ARGUMENTS = (
    '"~role" text, "~claims" text[], "~columns" text[], "~rows" int4, "~path" text, "~budget" int4'
)
_RAW = '"~raw"'
_RESULT = '"~key" int4, "~seen" int4[], "~failed" int4[]'

CALL = """
select "~key" as key, "~seen" as seen, "~failed" as failed
from (select pg_catalog.set_config('role', $1, true) as role offset 0) "~s",
     lateral pg_temp.{name}("~s".role, $2, $3, $4, $5, $6)
"""
"""The role is taken before the function is compiled: types are found by the role's rights."""

_BECOME = """
      "~set" := pg_catalog.set_config('role', "~role", true);
      "~set" := pg_catalog.set_config('search_path', "~path", true);
      "~claim" := "~claims"["~key"]::pg_catalog.jsonb;
      "~set" := pg_catalog.set_config('request.jwt.claims', "~claims"["~key"], true);
      "~set" := pg_catalog.set_config(
        'request.jwt.claim.sub', coalesce("~claim" ->> 'sub', ''), true);
      "~set" := pg_catalog.set_config(
        'request.jwt.claim.role', coalesce("~claim" ->> 'role', ''), true);
"""
# Else the plans of the former viewer are used, with what was worked out for him while planning. All
# of the session's go, those of functions that the policy calls too.
_FORGET_PLANS = """
      discard plans;
"""
# A policy may call what changes settings, even ones that we know nothing of: a function that keeps
# who asks in a setting of its own would tell the next viewer of the former one. So each block ends
# by an error, its own or the policy's, which takes all settings back; variables keep their values.
# One statement serves all rows and single ones, so that its plan can be made beforehand, for
# nobody: the planner tries stable functions, and with somebody's bad claim it would raise where the
# policy itself does not.
_LOOP = """
#variable_conflict use_column
declare
  "~set" pg_catalog.text;
  "~claim" pg_catalog.jsonb;
  "~from" pg_catalog.int4;
  "~to" pg_catalog.int4;
  "~one" pg_catalog.int4[];
  "~numbers" pg_catalog.int4[] := array(select pg_catalog.generate_series(1, "~rows"));
  "~done" pg_catalog.bool;
{variables}
begin
{assignments}
  for "~number" in 1 .. pg_catalog.cardinality("~claims") loop
    "~key" := "~number";
    "~seen" := null;
    "~failed" := null;
    "~from" := 1;
    "~to" := "~rows";
    loop
      "~done" := false;
      begin
{become}
        {select}
        "~done" := true;
        raise exception using errcode = 'TW003';
      exception when others or assert_failure then
        "~budget" := "~budget" - case when "~done" then 0 else 1 end;
        if "~done" then
          "~seen" := "~seen" || "~one";
          "~from" := "~to" + 1;
        elsif "~from" >= "~to" then
          "~failed" := "~failed" || "~from";
          "~from" := "~from" + 1;
        elsif "~budget" < 0 then
          "~failed" := "~failed" || array(select pg_catalog.generate_series("~from", "~to"));
          "~from" := "~to" + 1;
        end if;
      end;
      exit when "~from" > "~rows";
      "~to" := case when "~budget" < 0 then "~rows" else "~from" end;
    end loop;
    if "~seen" is not null or "~failed" is not null then
      return next;
    end if;
  end loop;
end
"""
_SETS = """
#variable_conflict use_column
declare
  "~set" pg_catalog.text;
  "~from" pg_catalog.int4 := 1;
  "~to" pg_catalog.int4 := "~rows";
  "~numbers" pg_catalog.int4[] := array(select pg_catalog.generate_series(1, "~rows"));
{variables}
begin
{assignments}
  "~set" := pg_catalog.set_config('search_path', "~path", true);
  return query
    select {viewer}."~key"::pg_catalog.int4, pg_catalog.array_agg("~o"::pg_catalog.int4),
           null::pg_catalog.int4[]
    from (select "~c"."~n" as "~key"{viewer_columns}
          from (select "~t"::pg_catalog.jsonb as "~jwt", "~n"
                from pg_catalog.unnest("~claims") with ordinality as "~u" ("~t", "~n")
                offset 0) "~c"
          offset 0) {viewer},
         {source}
    where {expression}
    group by 1;
end
"""
_VIEWER_COLUMNS = {
    "uid": """("~jwt" ->> 'sub')::pg_catalog.uuid""",
    "jwt": '"~jwt"',
    "role": """"~jwt" ->> 'role'""",
    "email": """"~jwt" ->> 'email'""",
}


def loop_function(name: str, policy: RowPolicy) -> str:
    """A statement for each viewer over all rows; one that raises is tried again row by row."""
    return _function(
        name,
        _LOOP.format(
            variables=_variables(policy.columns),
            assignments=_assignments(policy.columns),
            become=_become(policy),
            select=_select(policy),
        ),
    )


def bound_functions(name: str, policy: RowPolicy) -> str:
    """As `loop_function`, for a policy that names schemas into which its role may not look.

    A policy is kept parsed, so PostgreSQL never looks its names up again, and it may call what its
    role could not name. The same is done here: a function with a body of standard SQL is parsed
    once, by the session's own user, and run by the role. It depends on what it names, which would
    stand in the way of whoever drops that; so it must never be committed.
    """
    rows = _bound_name(name)
    alias = quote_identifier(policy.table_name)
    source = _source(policy.columns, alias, is_bound=True)
    bound = (
        f"create function pg_temp.{rows}"  # noqa: S608 - the policy is code
        '("~columns" text[], "~numbers" int4[], "~from" int4, "~to" int4) returns int4[] '
        "language sql begin atomic "
        f'select pg_catalog.array_agg("~o"::pg_catalog.int4) from {source} '
        f"where {policy.expression}; end"
    )
    loop = _LOOP.format(
        variables="",
        assignments="",
        become=_become(policy),
        select=f'"~one" := pg_temp.{rows}("~columns", "~numbers", "~from", "~to");',
    )
    return f"{bound}; {_function(name, loop)}"


def _become(policy: RowPolicy) -> str:
    """What makes the session somebody's."""
    return _BECOME + _FORGET_PLANS if policy.plans_anew else _BECOME


def _bound_name(name: str) -> str:
    return f'{name[:-1]} rows"'


def sets_function(name: str, policy: RowPolicy) -> str:
    """One statement for all viewers and rows; it raises where any of them does."""
    asked = {name: sql for name, sql in _VIEWER_COLUMNS.items() if f'"~{name}"' in policy.sets}
    return _function(
        name,
        _SETS.format(
            variables=_variables(policy.columns),
            assignments=_assignments(policy.columns),
            viewer=VIEWER,
            viewer_columns="".join(f', {sql} as "~{name}"' for name, sql in asked.items()),
            source=_source(policy.columns, quote_identifier(policy.table_name)),
            expression=policy.sets,
        ),
    )


def by_key_function(name: str, policy: RowPolicy, table: str) -> str:
    """As `loop_function`, over the rows that `table` now has under the given keys.

    Args:
        name: Of the function.
        policy: Whose `key` is handed over.
        table: Qualified and quoted. Row security itself judges, as for any SELECT.
    """
    return _function(
        name,
        _LOOP.format(
            variables=_variables(policy.key),
            assignments=_assignments(policy.key),
            become=_become(policy),
            select=_select_by_key(policy, table),
        ),
    )


def _function(name: str, body: str) -> str:
    return (
        f"create function pg_temp.{name}({_ARGUMENTS}) returns table ({_RESULT}) "
        f"language plpgsql as {quote_literal(body)}"
    )


def _variables(columns: Sequence[PolicyColumn]) -> str:
    return "\n".join(
        f'  "~v{place}" {_list_type(column)};' for place, column in enumerate(columns, 1)
    )


def _assignments(columns: Sequence[PolicyColumn]) -> str:
    return "\n".join(
        f'  "~v{place}" := "~columns"[{place}]::{_list_type(column)};'
        for place, column in enumerate(columns, 1)
    )


def _list_type(column: PolicyColumn) -> str:
    return f"{column.type_name if column.as_array else 'pg_catalog.text'}[]"


def _source(columns: Sequence[PolicyColumn], alias: str, *, is_bound: bool = False) -> str:
    """Rows ``"~from"`` to ``"~to"`` as a relation; `"~o"` is their number."""
    numbers = '"~numbers"'
    lists: list[str] = []
    for place, column in enumerate(columns, 1):
        values = f'(("~columns"[{place}])::{_list_type(column)})' if is_bound else f'"~v{place}"'
        lists.append(f'pg_catalog.unnest({values}["~from":"~to"])')
    # The planner takes an array for ten values and a series for a thousand, and a thousand rows
    # would make it read whole tables that a policy asks about, once for each viewer.
    lists.append(f'pg_catalog.unnest({numbers}["~from":"~to"])')
    raw = [f'"~x{place}"' for place in range(1, len(columns) + 1)]
    shown = ['"~o"']
    for column, given in zip(columns, raw, strict=True):
        value = given if column.as_array else f"{given}::{column.type_name}"
        shown.append(f"{value} as {quote_identifier(column.name)}")
    names = ", ".join([*raw, '"~o"'])
    return (
        f"(select {', '.join(shown)} "  # noqa: S608 - names of the catalogue, quoted
        f"from rows from ({', '.join(lists)}) as {_RAW} ({names})) as {alias}"
    )


def _select(policy: RowPolicy) -> str:
    source = _source(policy.columns, quote_identifier(policy.table_name))
    return (
        'select pg_catalog.array_agg("~o"::pg_catalog.int4) into "~one" '  # noqa: S608 - the policy is code
        f"from {source} where {policy.expression};"
    )


def _select_by_key(policy: RowPolicy, table: str) -> str:
    source = _source(policy.key, '"~k"')
    conditions: list[str] = []
    for column in policy.key:
        schema = column.operator_schema
        equals = f"operator({schema}.=)" if schema else "="
        name = quote_identifier(column.name)
        conditions.append(f'"~table".{name} {equals} "~k".{name}')
    return (
        'select pg_catalog.array_agg("~o"::pg_catalog.int4) into "~one" '  # noqa: S608 - as above
        f'from {source} join {table} as "~table" on {" and ".join(conditions)};'
    )
