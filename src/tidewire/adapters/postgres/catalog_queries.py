"""The questions to the system catalogues, as SQL.

Works from PostgreSQL 15 on. Users' values appear only as parameters.
"""

from __future__ import annotations

# Sums of row hashes change with any row's version; `xmin` is the version, `oid` tells rows apart.
# Only small catalogues are read whole: attributes and indexes are those of published tables.
# Columns of tables that policies ask count by name: renamed, they stand otherwise in its text.
# The view of published tables is not asked: it waits for whoever has locked one of them, and with
# it would wait every change of every table.
# Functions count because policies call them, schemas because of the right to look into them, views
# because policies ask them: what they read of the claims is looked for by word. Temporary functions
# are those of the sessions that judge rows.
FINGERPRINT = r"""
with recursive listed as (
  select r.prrelid as oid, r.xmin::text as version
  from pg_catalog.pg_publication b join pg_catalog.pg_publication_rel r on r.prpubid = b.oid
  where b.pubname = $1
  union all
  select c.oid, s.xmin::text
  from pg_catalog.pg_publication b
  join pg_catalog.pg_publication_namespace s on s.pnpubid = b.oid
  join pg_catalog.pg_class c on c.relnamespace = s.pnnspid
  where b.pubname = $1 and c.relkind in ('r', 'p')
  union all
  select c.oid, ''
  from pg_catalog.pg_publication b, pg_catalog.pg_class c
  where b.pubname = $1 and b.puballtables and c.relkind in ('r', 'p') and c.oid >= 16384
), tree as (
  select l.oid from listed l
  union
  select i.inhrelid from tree t join pg_catalog.pg_inherits i on i.inhparent = t.oid
), published as materialized (
  select c.oid, c.xmin, n.xmin as schema_version
  from tree t
  join pg_catalog.pg_class c on c.oid = t.oid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
)
select
  concat_ws(
    ':',
    (select pg_catalog.sum(pg_catalog.hashtextextended(p::text, 0)) from published p),
    (select pg_catalog.sum(pg_catalog.hashtextextended(l::text, 0)) from listed l),
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', a.attrelid, a.attnum, a.xmin), 0))
     from published p join pg_catalog.pg_attribute a on a.attrelid = p.oid where a.attnum > 0),
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', i.indexrelid, i.indrelid, i.xmin), 0))
     from published p join pg_catalog.pg_index i on i.indrelid = p.oid where i.indisprimary),
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', l.oid, l.xmin), 0))
     from pg_catalog.pg_policy l),
    (select concat_ws(',', b.oid, b.xmin) from pg_catalog.pg_publication b where b.pubname = $1)
  ) as tables,
  concat_ws(
    ':',
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', r.oid, r.rolname, r.rolsuper, r.rolinherit, r.rolbypassrls), 0))
     from pg_catalog.pg_roles r),
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', m.roleid, m.member, m.xmin), 0))
     from pg_catalog.pg_auth_members m)
  ) as roles,
  concat_ws(
    ':',
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', t.oid, t.xmin), 0))
     from pg_catalog.pg_type t where t.oid >= 16384),
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', e.oid, e.xmin), 0))
     from pg_catalog.pg_enum e),
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', a.attrelid, a.attnum, a.xmin), 0))
     from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
     where c.relkind = 'c' and c.oid >= 16384 and a.attnum > 0),
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', c.oid, c.relnatts), 0))
     from pg_catalog.pg_class c
     where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.oid >= 16384),
    (select pg_catalog.sum(pg_catalog.hashtextextended(
       concat_ws(',', a.attrelid, a.attnum, a.attname), 0))
     from pg_catalog.pg_attribute a
     where a.attnum > 0 and a.attrelid in (
       select d.refobjid from pg_catalog.pg_depend d
       where d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
         and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass))
  ) as types,
  concat_ws(
    ':',
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', f.oid, f.xmin), 0))
     from pg_catalog.pg_proc f
     where f.oid >= 16384 and f.pronamespace <> all (array(
       select s.oid from pg_catalog.pg_namespace s where s.nspname like 'pg\_temp\_%'))),
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', n.oid, n.xmin), 0))
     from pg_catalog.pg_namespace n where n.nspname not like 'pg\_t%'),
    (select pg_catalog.sum(pg_catalog.hashtextextended(concat_ws(',', v.oid, v.xmin), 0))
     from pg_catalog.pg_class v where v.relkind = 'v' and v.oid >= 16384)
  ) as functions,
  pg_catalog.pg_current_snapshot()::text as snapshot
"""

# What the stream carries: `attnames` leaves out what a column list withholds; generated columns
# are never sent before version 18, and from there on `attnames` tells.
TABLES = """
select c.oid, n.nspname as schema, c.relname as name, c.relrowsecurity as has_row_security,
       b.pubinsert, b.pubupdate, b.pubdelete,
       a.attname as column, a.atttypid as type_oid,
       coalesce(a.attnum = any(i.indkey::pg_catalog.int2[]), false) as is_primary_key,
       case
         when a.attcollation = 0 then true
         when a.attcollation = 100 then $2::pg_catalog.bool
         else o.collprovider = 'b' or (o.collprovider = 'c' and o.collcollate in ('C', 'POSIX'))
       end as is_collation_c,
       coalesce(o.collisdeterministic, true) as is_deterministic,
       case when a.attcollation in (0, 100) then ''
            else pg_catalog.format('%I.%I', s.nspname, o.collname) end as collation
from pg_catalog.pg_publication_tables t
join pg_catalog.pg_publication b on b.pubname = t.pubname
join pg_catalog.pg_namespace n on n.nspname = t.schemaname
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     and a.attname = any(t.attnames)
     and (a.attgenerated = ''
          or pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 180000)
left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
left join pg_catalog.pg_collation o on o.oid = a.attcollation
left join pg_catalog.pg_namespace s on s.oid = o.collnamespace
where t.pubname = $1
order by c.oid, a.attnum
"""

# 'b' is PostgreSQL's own provider (17+): its locales order by code point, as bytes of UTF-8 do.
# A libc locale C.UTF-8 is not counted: some systems order it otherwise.
DEFAULT_COLLATION_IS_C = """
select d.datlocprovider = 'b'
       or (d.datlocprovider = 'c' and d.datcollate in ('C', 'POSIX')) as is_c
from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
"""

# Row security does not bind superusers, BYPASSRLS, and those with the owner's rights unless the
# table forces it. Source: `check_enable_rls` in src/backend/utils/misc/rls.c.
ACCESS = """
select c.oid,
       array(
         select a.attname::pg_catalog.text from pg_catalog.pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           and pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
           and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')
       ) as columns,
       pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
         and pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT') as has_whole_table,
       not c.relrowsecurity or r.rolsuper or r.rolbypassrls
         or (not c.relforcerowsecurity and pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
         as bypasses_row_security
from pg_catalog.pg_roles r
left join pg_catalog.pg_class c on c.oid = any($2::pg_catalog.oid[])
where r.rolname = $1
"""

TYPES = """
select t.oid, t.typname as name, t.typtype::pg_catalog.text as kind, t.typbasetype as base_oid,
       case when t.typlen = -1 and t.typelem <> 0 and t.typcategory = 'A' then t.typelem
            else 0 end as element_oid,
       t.typdelim::pg_catalog.text as delimiter, t.typcategory::pg_catalog.text as category,
       pg_catalog.format('%I.%I', n.nspname, t.typname) as qualified,
       (select pg_catalog.quote_ident(s.nspname) from pg_catalog.pg_operator o
        join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
        where o.oprname = '=' and o.oprleft = t.oid and o.oprright = t.oid
        limit 1) as operator_schema,
       t.typarray <> 0 as has_array, n.nspname as schema,
       case when t.typtype = 'e' then array(
         select e.enumlabel::pg_catalog.text from pg_catalog.pg_enum e
         where e.enumtypid = t.oid order by e.enumsortorder) end as labels,
       case when t.typtype = 'c' then array(
         select a.attname::pg_catalog.text from pg_catalog.pg_attribute a
         where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
         order by a.attnum) end as field_names,
       case when t.typtype = 'c' then array(
         select a.atttypid from pg_catalog.pg_attribute a
         where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
         order by a.attnum) end as field_types
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_class c on c.oid = t.typrelid
where c.relkind is distinct from 't'
"""

# Which policies a role's SELECT meets. Source: `check_role_for_policy` in
# src/backend/rewrite/rowsecurity.c: a policy's role counts with the rights of its members. The
# order is that in which PostgreSQL tries permissive policies, which matters when one raises:
# `RelationBuildRowSecurity` puts each before the former ones.
POLICIES = """
select p.polrelid as oid, p.polpermissive as is_permissive,
       coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'true') as expression
from pg_catalog.pg_policy p, pg_catalog.pg_roles r
where r.rolname = $1 and p.polrelid = any($2::pg_catalog.oid[]) and p.polcmd in ('r', '*')
  and exists (
    select from pg_catalog.unnest(p.polroles) member
    where member = 0 or pg_catalog.pg_has_role(r.oid, member, 'USAGE'))
order by p.polrelid, p.polname desc
"""

# Columns that a policy may name and the stream does not carry are told apart by name.
ATTRIBUTES = """
select a.attrelid as oid, a.attname as name from pg_catalog.pg_attribute a
where a.attrelid = any($1::pg_catalog.oid[]) and a.attnum > 0 and not a.attisdropped
"""

SCHEMAS = """
select n.nspname as name, pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') as is_open
from pg_catalog.pg_namespace n, pg_catalog.pg_roles r
where r.rolname = $1
"""

CLAIM_FUNCTIONS = """
select f.proname as name, f.prosrc as source,
       l.lanname = 'sql' and not f.prosecdef and f.proconfig is null
         and f.provolatile in ('s', 'i') and f.prosqlbody is null as is_plain
from pg_catalog.pg_proc f
join pg_catalog.pg_namespace n on n.oid = f.pronamespace
join pg_catalog.pg_language l on l.oid = f.prolang
where n.nspname = 'auth' and f.proname in ('uid', 'jwt', 'role', 'email') and f.pronargs = 0
"""

# A claim that anything a policy may call names as a word. Coarse on purpose: a word too many makes
# groups of viewers smaller, one too few would judge somebody by another's claim.
NAMED_CLAIMS = r"""
select c.claim
from pg_catalog.unnest($1::pg_catalog.text[]) c (claim)
where exists (
    select from pg_catalog.pg_proc f
    where f.oid >= 16384
      and coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc) ~ ('\m' || c.claim || '\M'))
  or exists (
    select from pg_catalog.pg_policy p
    where pg_catalog.pg_get_expr(p.polqual, p.polrelid) ~ ('\m' || c.claim || '\M'))
  or exists (
    select from pg_catalog.pg_class v
    where v.relkind = 'v' and v.oid >= 16384
      and pg_catalog.pg_get_viewdef(v.oid) ~ ('\m' || c.claim || '\M'))
"""

# What policies may name, where a function of the database's own is declared immutable; else
# nothing. Those in C, of extensions, and the helpers of the schema `realtime`, which bear names
# such as "cast", read nothing of who asks. Temporary ones belong to the sessions that judge rows.
DEFINITIONS = r"""
with functions as materialized (
  select f.proname as name,
         coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc) as text,
         f.provolatile = 'i' as is_immutable
  from pg_catalog.pg_proc f
  join pg_catalog.pg_namespace n on n.oid = f.pronamespace
  join pg_catalog.pg_language l on l.oid = f.prolang
  where f.oid >= 16384 and f.prokind = 'f' and l.lanname not in ('c', 'internal')
    and n.nspname !~ '^pg_temp_' and n.nspname not in ('realtime', 'tidewire')
    and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = f.oid
        and d.deptype = 'e')
)
select f.name::pg_catalog.text as name, f.text, true as is_function, f.is_immutable
from functions f
where exists (select from functions where is_immutable)
union all
select v.relname::pg_catalog.text, pg_catalog.pg_get_viewdef(v.oid), false, false
from pg_catalog.pg_class v
where v.relkind = 'v' and v.oid >= 16384
  and exists (select from functions where is_immutable)
union all
select c.relname::pg_catalog.text, pg_catalog.pg_get_expr(p.polqual, p.polrelid), false, false
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
where p.polqual is not null
  and exists (select from functions where is_immutable)
"""
