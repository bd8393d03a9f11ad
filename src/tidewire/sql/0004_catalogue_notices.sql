-- Changes of the catalogue, told inside the change stream, so that the server sees them in the
-- order in which they took effect. Event triggers need a superuser.
--
-- Each command emits one transactional message of the prefix tidewire.ddl; its content is JSON:
-- {"tag": "ALTER TABLE", "objects": [{"type": "table", "schema": "public",
-- "identity": "public.trips"}]}. GRANT and REVOKE name no identity. At most 50 objects are
-- listed, then "truncated" is true. Commands on temporary objects alone are not told.
-- Roles and their memberships belong to the cluster: no event trigger tells of them.

-- optional: notices of catalogue changes in the stream
-- without it: Changes of tables, policies and grants are noticed with the next change or join
do $outer$
begin
  create or replace function realtime.tidewire_tell_ddl() returns event_trigger
  language plpgsql
  set search_path = pg_catalog
  as $$
  declare
    told jsonb;
    seen integer;
  begin
    if tg_event = 'sql_drop' then
      select coalesce(jsonb_agg(jsonb_build_object('type', d.object_type, 'schema', d.schema_name,
                                                   'identity', d.object_identity))
                        filter (where d.place <= 50), '[]'), count(*)
        into told, seen
        from (select object_type, schema_name, object_identity, row_number() over () as place
                from pg_event_trigger_dropped_objects()
               where not is_temporary
                 and object_type in ('table', 'table column', 'table constraint', 'publication',
                                     'publication relation', 'publication namespace', 'policy',
                                     'function', 'procedure', 'type', 'domain', 'schema',
                                     'index')) d;
    else
      select coalesce(jsonb_agg(jsonb_build_object('type', c.object_type, 'schema', c.schema_name,
                                                   'identity', c.object_identity))
                        filter (where c.place <= 50), '[]'), count(*)
        into told, seen
        from (select object_type, schema_name, object_identity, row_number() over () as place
                from pg_event_trigger_ddl_commands()
               where schema_name is distinct from 'pg_temp') c;
    end if;
    if seen > 0 then
      perform pg_logical_emit_message(true, 'tidewire.ddl', jsonb_build_object(
        'tag', tg_tag, 'objects', told, 'truncated', seen > 50)::text);
    end if;
  end $$;

  if not exists (select from pg_event_trigger where evtname = 'tidewire_ddl_end') then
    create event trigger tidewire_ddl_end on ddl_command_end
      when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
                   'CREATE PUBLICATION', 'ALTER PUBLICATION', 'CREATE POLICY', 'ALTER POLICY',
                   'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE PROCEDURE', 'ALTER PROCEDURE',
                   'ALTER ROUTINE', 'CREATE TYPE', 'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN',
                   'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE EXTENSION', 'ALTER EXTENSION',
                   'CREATE INDEX', 'GRANT', 'REVOKE')
      execute function realtime.tidewire_tell_ddl();
  end if;
  if not exists (select from pg_event_trigger where evtname = 'tidewire_sql_drop') then
    create event trigger tidewire_sql_drop on sql_drop
      execute function realtime.tidewire_tell_ddl();
  end if;
  alter event trigger tidewire_ddl_end enable always;
  alter event trigger tidewire_sql_drop enable always;
end $outer$;
