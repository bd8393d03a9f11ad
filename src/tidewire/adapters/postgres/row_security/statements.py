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
# A policy may call what changes settings, so they are made anew for each viewer. A failed block
# takes its changes back by itself.
_LOOP = """
#variable_conflict use_column
declare
  "~set" pg_catalog.text;
  "~claim" pg_catalog.jsonb;
  "~row" pg_catalog.int4;
  "~one" pg_catalog.int4[];
{variables}
begin
{assignments}
  for "~number" in 1 .. pg_catalog.cardinality("~claims") loop
    "~key" := "~number";
    "~seen" := null;
    "~failed" := null;
    begin
{become}
      {all_rows}
    exception when others then
      "~seen" := null;
      for "~row" in 1 .. "~rows" loop
        "~budget" := "~budget" - 1;
        if "~budget" < 0 then
          "~failed" := "~failed" || "~row";
          continue;
        end if;
        begin
{become}
          {one_row}
          "~seen" := "~seen" || "~one";
        exception when others then
          "~failed" := "~failed" || "~row";
        end;
      end loop;
    end;
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
            become=_BECOME,
            all_rows=_select("~seen", policy, is_single=False),
            one_row=_select("~one", policy, is_single=True),
        ),
    )


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
            become=_BECOME,
            all_rows=_select_by_key("~seen", policy, table, is_single=False),
            one_row=_select_by_key("~one", policy, table, is_single=True),
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


def _source(columns: Sequence[PolicyColumn], alias: str, *, is_single: bool = False) -> str:
    """The rows as a relation under the table's name; `"~o"` is their number."""
    part = '["~row":"~row"]' if is_single else ""
    lists = [f'pg_catalog.unnest("~v{place}"{part})' for place in range(1, len(columns) + 1)]
    span = '"~row", "~row"' if is_single else '1, "~rows"'
    lists.append(f"pg_catalog.generate_series({span})")
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


def _select(into: str, policy: RowPolicy, *, is_single: bool) -> str:
    source = _source(policy.columns, quote_identifier(policy.table_name), is_single=is_single)
    return (
        f'select pg_catalog.array_agg("~o"::pg_catalog.int4) into "{into}" '  # noqa: S608 - the policy is code
        f"from {source} where {policy.expression};"
    )


def _select_by_key(into: str, policy: RowPolicy, table: str, *, is_single: bool) -> str:
    source = _source(policy.key, '"~k"', is_single=is_single)
    conditions: list[str] = []
    for column in policy.key:
        schema = column.operator_schema
        equals = f"operator({schema}.=)" if schema else "="
        name = quote_identifier(column.name)
        conditions.append(f'"~table".{name} {equals} "~k".{name}')
    return (
        f'select pg_catalog.array_agg("~o"::pg_catalog.int4) into "{into}" '  # noqa: S608 - as above
        f'from {source} join {table} as "~table" on {" and ".join(conditions)};'
    )
