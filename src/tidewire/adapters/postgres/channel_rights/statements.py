"""What is asked of the database about rights on private channels, as SQL.

Theory of operation. One temporary function, made once per session, takes many questions. For each
it does what somebody's own session would do: take the role, make the settings that policies read,
select a probe row for each extension that is to be read, insert one for each that is to be
written; and undoes all of it. PostgreSQL itself says what is visible and what may be inserted, so
privileges, restrictive policies, functions, triggers and whatever else decides are as for anybody.
Each attempt is a subtransaction: what one raises touches no other.

Questions are planned anew at every run (`plan_cache_mode`), so that nothing of one caller is left
in the plan for the next, not even by a function that is wrongly declared immutable.

Source: wire specification 7.3, 7.4.
"""

from __future__ import annotations

SESSION_SETTINGS = {
    # Probes are written and rolled back; that is no reason to wait for a disk.
    "synchronous_commit": "off",
    "row_security": "on",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "standard_conforming_strings": "on",
}
"""All else, such as the search path, is as in any session of the database."""

FIND_PROBE = """
select pg_catalog.quote_ident(n.nspname) as place
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where p.proname = 'tidewire_probe' and n.nspname in ('realtime', 'tidewire')
  and pg_catalog.has_schema_privilege(n.oid, 'usage')
  and pg_catalog.has_function_privilege(p.oid, 'execute')
order by n.nspname
"""

MAY_TAKE = """
select r.rolname::pg_catalog.text as role, pg_catalog.pg_has_role(session_user, r.oid,
         case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
              then 'SET' else 'MEMBER' end) as may_take
from pg_catalog.pg_roles r where r.rolname = any ($1)
"""

_BECOME = """
      perform pg_catalog.set_config('role', roles[number], true),
              pg_catalog.set_config('realtime.topic', topics[number], true),
              pg_catalog.set_config('request.jwt.claims', claims[number], true),
              pg_catalog.set_config('request.jwt.claim.sub', subject, true),
              pg_catalog.set_config('request.jwt.claim.role', roles[number], true),
              pg_catalog.set_config('request.headers', headers[number], true);
"""

# A failed block takes its changes back by itself; variables keep their values.
_FUNCTION = """
create function pg_temp.tidewire_channel_rights(
  state text,
  topics text[], roles text[], claims text[], headers text[], reads text[], writes text[])
returns table (number int4, granted text[], failed text[], place text, code text)
language plpgsql as $function$
declare
  subject text;
  wanted text[];
  extension_ text;
  probes uuid[];
  seen uuid[];
begin
  for number_ in 1 .. pg_catalog.cardinality(topics) loop
    number := number_;
    granted := '{{}}';
    failed := '{{}}';
    code := null;
    place := 'claims';
    begin
      wanted := pg_catalog.string_to_array(reads[number], ' ');
      subject := coalesce(claims[number]::pg_catalog.jsonb ->> 'sub', '');
      place := 'probe';
      if pg_catalog.cardinality(wanted) > 0 then
        probes := {probe}(topics[number], wanted);
      end if;
      place := 'role';
      {become}
      place := 'policy';
      if pg_catalog.cardinality(wanted) > 0 then
        begin
          seen := array(select m.id from realtime.messages m where m.id = any (probes));
          for i in 1 .. pg_catalog.cardinality(wanted) loop
            if probes[i] = any (seen) then
              granted := granted || ('read ' || wanted[i]);
            end if;
          end loop;
        exception
          when insufficient_privilege then null;
          when others or assert_failure then
            code := sqlstate;
            foreach extension_ in array wanted loop
              failed := failed || ('read ' || extension_);
            end loop;
        end;
      end if;
      foreach extension_ in array pg_catalog.string_to_array(writes[number], ' ') loop
        begin
          {become}
          insert into realtime.messages (topic, extension) values (topics[number], extension_);
          granted := granted || ('write ' || extension_);
        exception
          when insufficient_privilege then null;
          when others or assert_failure then
            code := sqlstate;
            failed := failed || ('write ' || extension_);
        end;
      end loop;
      raise exception using errcode = 'TW002';
    exception
      when sqlstate 'TW002' then
        if code is null then
          place := null;
        end if;
      when others or assert_failure then
        code := sqlstate;
        granted := '{{}}';
        failed := '{{all}}';
    end;
    return next;
  end loop;
end $function$
"""
_DIRECT_PROBE = "pg_temp.tidewire_probe"
MAKE_DIRECT_PROBE = """
create function pg_temp.tidewire_probe(topic text, extensions text[]) returns uuid[]
language plpgsql as $function$
declare
  wanted text;
  made uuid;
  ids uuid[] := '{}';
begin
  foreach wanted in array extensions loop
    insert into realtime.messages (topic, extension) values ($1, wanted) returning id into made;
    ids := ids || made;
  end loop;
  return ids;
end $function$
"""
"""For a session whose own user may write the table, where the migration could make nothing."""


def make_function(place: str) -> str:
    """The SQL that makes the function.

    Args:
        place: Schema of the probe function, quoted; "" for the session's own.
    """
    probe = f"{place}.tidewire_probe" if place else _DIRECT_PROBE
    return _FUNCTION.format(probe=probe, become=_BECOME.strip())


# Sums of row hashes change with any row. What belongs to temporary objects is left out, and the
# daily partitions of messages, which no policy is about.
STATE = """
select pg_catalog.concat_ws(
  ':',
  (select pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(',', l.oid, l.xmin), 0))
   from pg_catalog.pg_policy l),
  (select pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(
     ',', c.oid, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text), 0))
   from pg_catalog.pg_class c
   where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f')
     and c.relpersistence <> 't' and not c.relispartition),
  (select pg_catalog.sum(pg_catalog.hashtextextended(
     pg_catalog.concat_ws(',', n.oid, n.nspname, n.nspowner, n.nspacl::text), 0))
   from pg_catalog.pg_namespace n where n.nspname !~ '^pg_(toast_)?temp_'),
  (select pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(',', p.oid, p.xmin), 0))
   from pg_catalog.pg_proc p
   where p.oid >= 16384 and p.pronamespace not in (
     select n.oid from pg_catalog.pg_namespace n where n.nspname ~ '^pg_temp_')),
  (select pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(',', w.oid, w.xmin), 0))
   from pg_catalog.pg_rewrite w where w.ev_class >= 16384),
  (select pg_catalog.sum(pg_catalog.hashtextextended(
     pg_catalog.concat_ws(',', a.attnum, a.attname, a.attacl::text), 0))
   from pg_catalog.pg_attribute a
   where a.attnum > 0 and a.attrelid = (
     select c.oid from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'realtime' and c.relname = 'messages')),
  (select pg_catalog.sum(pg_catalog.hashtextextended(
     pg_catalog.concat_ws(',', r.oid, r.rolname, r.rolsuper, r.rolinherit, r.rolbypassrls), 0))
   from pg_catalog.pg_roles r),
  (select pg_catalog.sum(pg_catalog.hashtextextended(
     pg_catalog.concat_ws(',', m.roleid, m.member, m.xmin), 0))
   from pg_catalog.pg_auth_members m)
) as state
"""

# The state is an argument, so it is read before the function looks at anything: what changes
# meanwhile makes the next state differ.
CALL = f"""
with s as materialized ({STATE})
select s.state, f.number, f.granted, f.failed, f.place, f.code
from s, lateral pg_temp.tidewire_channel_rights(s.state, $1, $2, $3, $4, $5, $6) f
"""  # noqa: S608 - a constant of this file
