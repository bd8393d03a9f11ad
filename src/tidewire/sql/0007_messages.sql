-- The table realtime.messages: messages that the database sends, and what the policies of private
-- channels stand on.
--
-- One partition a day, by inserted_at, which is UTC without a zone. A Supabase database has the
-- table, often another role's; then nothing here touches it.
--
-- Row security is on, so without a policy nobody but its owner and roles with BYPASSRLS is let
-- into a private channel. SELECT policies say who may receive, INSERT policies who may send.

-- optional: the table realtime.messages
-- without it: Private channels and messages from SQL need it: run as the owner of the schema realtime
do $$
declare
  today date := (now() at time zone 'utc')::date;
  day date;
begin
  if to_regclass('realtime.messages') is not null then
    return;
  end if;

  create table realtime.messages (
    topic text not null,
    extension text not null,
    payload jsonb,
    event text,
    private boolean default false,
    updated_at timestamp not null default (now() at time zone 'utc'),
    inserted_at timestamp not null default (now() at time zone 'utc'),
    id uuid not null default gen_random_uuid(),
    binary_payload bytea,
    broadcasted_at timestamp,
    expires_at timestamp,
    skip_broadcast boolean not null default false,
    primary key (id, inserted_at),
    constraint messages_one_payload check (payload is null or binary_payload is null)
  ) partition by range (inserted_at);

  comment on table realtime.messages is
    'Messages sent from SQL, and the policies of private channels; one partition a day.';
  comment on column realtime.messages.topic is 'The channel''s name, without realtime: before it.';
  comment on column realtime.messages.extension is
    'broadcast; to policies also presence and persistence.';
  comment on column realtime.messages.expires_at is 'After it the message is not replayed; UTC.';
  comment on column realtime.messages.skip_broadcast is
    'The message was delivered already; the row is kept for replay only.';

  create index messages_replay on realtime.messages (topic, inserted_at desc)
    where private and extension = 'broadcast';
  alter table realtime.messages enable row level security;
  grant select, insert, update on realtime.messages to anon, authenticated, service_role;

  for day in select today + n from generate_series(-1, 3) as n loop
    execute format('create table realtime.%I partition of realtime.messages '
                   'for values from (%L) to (%L)',
                   'messages_' || to_char(day, 'YYYY_MM_DD'), day, day + 1);
  end loop;
end $$;

-- Whether someone may read is found out by a row that he would have to see. It is inserted in a
-- transaction that is rolled back, by this function's owner: the server's session has no rights of
-- its own but those of the roles it takes.

-- optional: the probe of read rights on private channels
-- without it: Run as the owner of the schema realtime, else nobody can be let into private channels
do $outer$
declare
  place text := case when has_schema_privilege('realtime', 'create') then 'realtime'
                else 'tidewire' end;
begin
  if place = 'tidewire' and to_regnamespace('tidewire') is null then
    create schema tidewire;
  end if;
  execute format($function$
    create or replace function %I.tidewire_probe(topic text, extensions text[]) returns uuid[]
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
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
    end $$
  $function$, place);
  execute format('revoke all on function %I.tidewire_probe(text, text[]) from public', place);
  execute format('comment on function %I.tidewire_probe(text, text[]) is %L', place,
                 'For the server alone: rows to try read rights with; roll back afterwards.');
  if to_regrole('tidewire_check') is not null then
    execute format('grant usage on schema %I to tidewire_check', place);
    execute format('grant execute on function %I.tidewire_probe(text, text[]) to tidewire_check',
                   place);
  end if;
end $outer$;
