-- Tokens that end before their time: of one session, of one user, or all that are older than a
-- moment. Who revokes writes a row here and tells the server by a message in the change stream,
-- of prefix tidewire.revoke, whose content is the row's id. The server reads the row by that id, so
-- a message that somebody made up revokes nothing.
--
-- session_id set: every token with that claim. user_id set: tokens with that claim sub and an iat
-- before issued_before. Neither: all tokens with an iat before issued_before, but for keys
-- that name nobody. The server drops rows once no token they concern can still live.

-- optional: realtime.revocations and the functions that write to it
-- without it: Tokens cannot be revoked; have the owner of the schema realtime run the server once
do $outer$
begin
  create table if not exists realtime.revocations (
    id bigint generated always as identity primary key,
    session_id text check (session_id <> ''),
    user_id text check (user_id <> ''),
    issued_before timestamptz not null default 'infinity',
    revoked_at timestamptz not null default now(),
    expires_at timestamptz,
    check (session_id is null or user_id is null),
    check (session_id is not null or user_id is not null or isfinite(issued_before))
  );
  comment on table realtime.revocations is 'Tokens that ended before their time.';
  comment on column realtime.revocations.expires_at is
    'When the last token concerned ends by itself; null when nobody knows.';

  create or replace function realtime.tidewire_revoke(
    session_id text, user_id text, issued_before timestamptz, expires_at timestamptz
  ) returns bigint
  language plpgsql security definer
  set search_path = pg_catalog
  as $$
  declare
    made bigint;
  begin
    insert into realtime.revocations (session_id, user_id, issued_before, expires_at)
    values (tidewire_revoke.session_id, tidewire_revoke.user_id,
            coalesce(tidewire_revoke.issued_before, 'infinity'), tidewire_revoke.expires_at)
    returning id into made;
    perform pg_logical_emit_message(true, 'tidewire.revoke', made::text);
    return made;
  end $$;

  create or replace function realtime.revoke_session(
    session_id text, expires_at timestamptz default null
  ) returns void
  language plpgsql security definer
  set search_path = pg_catalog
  as $$
  begin
    if coalesce(session_id, '') = '' then
      raise 'revoke_session needs a session' using errcode = '22004';
    end if;
    perform realtime.tidewire_revoke(session_id, null, null, expires_at);
  end $$;

  create or replace function realtime.revoke_user(
    user_id text, expires_at timestamptz default null
  ) returns void
  language plpgsql security definer
  set search_path = pg_catalog
  as $$
  begin
    if coalesce(user_id, '') = '' then
      raise 'revoke_user needs a user' using errcode = '22004';
    end if;
    perform realtime.tidewire_revoke(null, user_id, clock_timestamp(), expires_at);
  end $$;

  create or replace function realtime.revoke_user(
    user_id uuid, expires_at timestamptz default null
  ) returns void
  language sql security definer
  set search_path = pg_catalog
  as $$ select realtime.revoke_user(user_id::text, expires_at) $$;

  create or replace function realtime.revoke_issued_before(
    moment timestamptz, user_id text default null, expires_at timestamptz default null
  ) returns void
  language plpgsql security definer
  set search_path = pg_catalog
  as $$
  begin
    if moment is null then
      raise 'revoke_issued_before needs a moment' using errcode = '22004';
    end if;
    perform realtime.tidewire_revoke(null, user_id, moment, expires_at);
  end $$;

  comment on function realtime.revoke_session(text, timestamptz) is
    'Ends every token of a session (claim session_id), for good.';
  comment on function realtime.revoke_user(text, timestamptz) is
    'Ends every token of a user (claim sub) that was issued up to now.';
  comment on function realtime.revoke_user(uuid, timestamptz) is
    'Ends every token of a user (claim sub) that was issued up to now.';
  comment on function realtime.revoke_issued_before(timestamptz, text, timestamptz) is
    'Ends every token issued before a moment (claim iat), of all users or of one.';

  revoke all on table realtime.revocations from public, anon, authenticated, service_role;
  revoke all on function
    realtime.tidewire_revoke(text, text, timestamptz, timestamptz),
    realtime.revoke_session(text, timestamptz),
    realtime.revoke_user(text, timestamptz),
    realtime.revoke_user(uuid, timestamptz),
    realtime.revoke_issued_before(timestamptz, text, timestamptz)
    from public, anon, authenticated;
  grant execute on function
    realtime.revoke_session(text, timestamptz),
    realtime.revoke_user(text, timestamptz),
    realtime.revoke_user(uuid, timestamptz),
    realtime.revoke_issued_before(timestamptz, text, timestamptz)
    to service_role;
end $outer$;
