"""The data types of a database, for tests of the renderers."""

from __future__ import annotations

import asyncpg

from tidewire.core.catalog import TypeInfo, TypeKind

_QUERY = """
select t.oid::int8, t.typname,
       case when s.typsubscript = 'array_subscript_handler'::regproc then 'a'
            else t.typtype::text end as kind,
       t.typbasetype::int8, t.typelem::int8, t.typdelim::text,
       (select array_agg(row(a.attname::text, a.atttypid::int8) order by a.attnum)
          from pg_attribute a
         where a.attrelid = t.typrelid and t.typtype = 'c' and a.attnum > 0
           and not a.attisdropped) as fields
  from pg_type t join pg_type s on s.oid = t.oid
"""


async def load_types(connection: asyncpg.Connection) -> dict[int, TypeInfo]:
    rows = await connection.fetch(_QUERY)
    return {
        row["oid"]: TypeInfo(
            oid=row["oid"],
            name=row["typname"],
            kind=TypeKind(row["kind"]),
            base_oid=row["typbasetype"],
            element_oid=row["typelem"] if row["kind"] == "a" else 0,
            delimiter=row["typdelim"],
            fields=tuple((field[0], field[1]) for field in row["fields"] or ()),
        )
        for row in rows
    }
