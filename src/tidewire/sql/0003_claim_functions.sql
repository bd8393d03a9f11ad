-- What policies ask about the present request. Each is made only where it is absent: a Supabase
-- database has its own, often another role's.
--
-- The settings they read are those that PostgREST and Supabase Realtime make: the claims as one
-- JSON text in request.jwt.claims, and in older clients one setting for each claim.

-- optional: auth.jwt(), auth.uid(), auth.role() and auth.email()
-- without it: Have the owner of the schema auth make the missing functions
do $outer$
begin
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb
    language sql stable
    as $$
      select coalesce(
        nullif(current_setting('request.jwt.claims', true), ''),
        nullif(current_setting('request.jwt.claim', true), '')
      )::jsonb
    $$;
    comment on function auth.jwt() is 'All claims of the token of this request; null without one.';
  end if;

  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid
    language sql stable
    as $$
      select coalesce(
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
        nullif(current_setting('request.jwt.claim.sub', true), '')
      )::uuid
    $$;
    comment on function auth.uid() is 'The claim sub: which user this request is made for.';
  end if;

  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text
    language sql stable
    as $$
      select coalesce(
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
        nullif(current_setting('request.jwt.claim.role', true), '')
      )
    $$;
    comment on function auth.role() is 'The claim role: anon, authenticated or service_role.';
  end if;

  if to_regprocedure('auth.email()') is null then
    create function auth.email() returns text
    language sql stable
    as $$
      select coalesce(
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email',
        nullif(current_setting('request.jwt.claim.email', true), '')
      )
    $$;
    comment on function auth.email() is 'The claim email.';
  end if;
end $outer$;

-- optional: realtime.topic()
-- without it: Have the owner of the schema realtime make the missing function
do $outer$
begin
  if to_regprocedure('realtime.topic()') is null then
    create function realtime.topic() returns text
    language sql stable
    as $$
      select nullif(current_setting('realtime.topic', true), '')
    $$;
    comment on function realtime.topic() is 'The topic of the channel that a policy judges.';
  end if;
end $outer$;
