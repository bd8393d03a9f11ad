-- The login that judges rows by the policies of the database.
--
-- Policies run their authors' code, which may take back the role that was set for it. So the login
-- itself may see nothing: no superuser, no BYPASSRLS, no rights inherited; it may only take the
-- roles that tokens name. Its password is set by the server at each start.

-- optional: the login tidewire_check
-- without it: Rows are judged by the user of database.url; give a login of little right as database.checker_url
do $$
begin
  if to_regrole('tidewire_check') is null then
    begin
      create role tidewire_check login noinherit;
    exception when duplicate_object or unique_violation then
      null;
    end;
  end if;
end $$;

-- optional: membership of tidewire_check in the roles that tokens name
-- without it: Run as a superuser: GRANT anon, authenticated, service_role TO tidewire_check
do $$
declare
  wanted text;
  needed text := case when current_setting('server_version_num')::int >= 160000
                 then 'SET' else 'MEMBER' end;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    continue when to_regrole('tidewire_check') is null
               or pg_has_role('tidewire_check', wanted, needed);
    execute format('grant %I to tidewire_check', wanted);
  end loop;
end $$;

-- optional: temporary functions of tidewire_check
-- without it: Run as the owner of the database: GRANT TEMPORARY, CONNECT ON DATABASE it TO tidewire_check
do $$
begin
  if to_regrole('tidewire_check') is not null
     and not (has_database_privilege('tidewire_check', current_database(), 'temporary')
              and has_database_privilege('tidewire_check', current_database(), 'connect')) then
    execute format('grant temporary, connect on database %I to tidewire_check',
                   current_database());
  end if;
end $$;
