-- The schemas of helpers, and who may look into them.

-- step: the schemas realtime and auth
do $$
begin
  if to_regnamespace('realtime') is null then
    create schema realtime;
  end if;
  if to_regnamespace('auth') is null then
    create schema auth;
  end if;
end $$;

-- step: usage of the schemas
do $$
declare
  wanted_schema text;
  wanted_role text;
begin
  foreach wanted_schema in array array['public', 'realtime', 'auth'] loop
    continue when to_regnamespace(wanted_schema) is null;
    foreach wanted_role in array array['anon', 'authenticated', 'service_role'] loop
      continue when has_schema_privilege(wanted_role, wanted_schema, 'usage');
      begin
        execute format('grant usage on schema %I to %I', wanted_schema, wanted_role);
      exception when insufficient_privilege then
        null;
      end;
      if not has_schema_privilege(wanted_role, wanted_schema, 'usage') then
        raise warning using errcode = 'TW001',
          message = format('%I may not use the schema %I', wanted_role, wanted_schema),
          hint = format('Run as its owner: GRANT USAGE ON SCHEMA %I TO %I',
                        wanted_schema, wanted_role);
      end if;
    end loop;
  end loop;
end $$;

-- step: rights on tables made later in public, in a database that is wholly ours
--
-- As Supabase has it: row security, not grants, decides there what each role sees. On anybody
-- else's database the default privileges are not touched.
do $$
begin
  if current_setting('tidewire.embedded', true) = 'on' then
    alter default privileges in schema public
      grant select, insert, update, delete on tables to anon, authenticated, service_role;
    alter default privileges in schema public
      grant usage, select on sequences to anon, authenticated, service_role;
  end if;
end $$;
