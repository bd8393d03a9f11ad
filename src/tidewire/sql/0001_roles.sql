-- The database roles that tokens name.
--
-- Roles belong to the whole cluster, so another database's migration may make them at the same
-- moment; those that exist are left as they are.

-- step: the roles anon, authenticated and service_role
do $$
declare
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    continue when to_regrole(wanted) is not null;
    begin
      if wanted = 'service_role' then
        begin
          create role service_role nologin noinherit bypassrls;
        exception when insufficient_privilege then
          create role service_role nologin noinherit;
          raise warning using errcode = 'TW001',
            message = 'service_role was made without BYPASSRLS, so row security binds it',
            hint = 'Run as a superuser: ALTER ROLE service_role BYPASSRLS';
        end;
      else
        execute format('create role %I nologin noinherit', wanted);
      end if;
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end $$;

-- optional: membership of the present user in the roles
-- without it: Run as a superuser: GRANT anon, authenticated, service_role TO the user of the URL
do $$
declare
  wanted text;
  needed text := case when current_setting('server_version_num')::int >= 160000
                 then 'SET' else 'MEMBER' end;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not pg_has_role(current_user, wanted, needed) then
      execute format('grant %I to %I', wanted, current_user);
    end if;
  end loop;
end $$;
