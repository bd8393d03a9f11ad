-- Broadcasting from SQL, and looking after the partitions of realtime.messages.
--
-- A message is a row: it goes out when its transaction commits, in commit order, and not at all
-- when it rolls back. Functions that exist already, as in a Supabase database, are left alone.
--
-- What becomes of a message that cannot be sent is a setting that SQL can read: `raise` makes the
-- statement fail, `warn` gives a warning, goes on without the message and has it counted. The
-- parameter tidewire.send_errors of the session, role or database wins over the row made here:
-- `raise`, or `warn` where another realtime.send is there already.

-- optional: settings of broadcasts from SQL
-- without it: The functions that send from SQL are not made either
do $outer$
begin
  create table if not exists realtime.tidewire_broadcast_settings (
    is_only boolean primary key default true check (is_only),
    send_errors text not null check (send_errors in ('raise', 'warn')),
    payload_bytes_max integer not null
  );
  insert into realtime.tidewire_broadcast_settings (send_errors, payload_bytes_max)
  values (case when to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null
               then 'raise' else 'warn' end, 3000500)
  on conflict do nothing;
  comment on table realtime.tidewire_broadcast_settings is
    'send_errors may be changed by hand; payload_bytes_max is written by the server.';

  create or replace function realtime.tidewire_broadcast_settings()
  returns realtime.tidewire_broadcast_settings
  language sql stable security definer
  set search_path = pg_catalog
  as $$ select s from realtime.tidewire_broadcast_settings s limit 1 $$;
end $outer$;

-- optional: realtime.send() and realtime.send_binary()
-- without it: Have the owner of the schema realtime make the missing functions
do $outer$
begin
  -- No parameter such as search_path is set for this function: it would hold for the functions
  -- that the policies of realtime.messages call, too. Its caller's rights are what counts.
  create or replace function realtime.tidewire_send(
    payload jsonb, binary_payload bytea, event text, topic text, private boolean)
  returns void
  language plpgsql
  as $$
  declare
    settings realtime.tidewire_broadcast_settings := realtime.tidewire_broadcast_settings();
    is_quiet boolean := coalesce(nullif(current_setting('tidewire.send_errors', true), ''),
                                 settings.send_errors) = 'warn';
    row_id uuid := gen_random_uuid();
    size_bytes integer;
    problem text;
  begin
    if binary_payload is null and jsonb_typeof(payload) = 'object' and not payload ? 'id' then
      payload := jsonb_set(payload, '{id}', to_jsonb(row_id));
    end if;
    size_bytes := coalesce(octet_length(binary_payload), octet_length(payload::text), 0);
    if coalesce(topic, '') = '' then
      problem := 'the topic has no name';
    elsif event is null then
      problem := 'the event is null';
    elsif binary_payload is null and jsonb_typeof(payload) is distinct from 'object' then
      problem := 'the payload is no JSON object';
    elsif size_bytes > settings.payload_bytes_max then
      problem := format('the payload has %s bytes, and %s are allowed',
                        size_bytes, settings.payload_bytes_max);
    end if;
    if problem is not null and not is_quiet then
      raise exception using errcode = 'invalid_parameter_value',
        message = 'a broadcast cannot be sent: ' || problem,
        hint = 'To go on without the message: set tidewire.send_errors to warn.';
    end if;
    if problem is null then
      perform set_config('realtime.topic', topic, true);
      if not is_quiet then
        insert into realtime.messages
          (id, topic, extension, payload, binary_payload, event, private, inserted_at)
        values (row_id, topic, 'broadcast', payload, binary_payload, event,
                coalesce(private, true), clock_timestamp() at time zone 'utc');
        return;
      end if;
      begin
        insert into realtime.messages
          (id, topic, extension, payload, binary_payload, event, private, inserted_at)
        values (row_id, topic, 'broadcast', payload, binary_payload, event,
                coalesce(private, true), clock_timestamp() at time zone 'utc');
        return;
      exception when others then
        problem := format('%s (%s)', sqlerrm, sqlstate);
      end;
    end if;
    raise warning 'WarnSendingBroadcastMessage: %', problem;
    perform pg_logical_emit_message(true, 'tidewire.send_failed', left(topic, 255));
  end $$;

  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null then
    create function realtime.send(
      payload jsonb, event text, topic text, private boolean default true)
    returns void
    language plpgsql
    as $$
    begin
      perform realtime.tidewire_send(payload, null, event, topic, private);
    end $$;
    comment on function realtime.send(jsonb, text, text, boolean) is
      'Broadcasts an object to a topic when the transaction commits.';
  end if;

  if to_regprocedure('realtime.send_binary(bytea,text,text,boolean)') is null then
    create function realtime.send_binary(
      payload bytea, event text, topic text, private boolean default true)
    returns void
    language plpgsql
    as $$
    begin
      perform realtime.tidewire_send(null, coalesce(payload, ''), event, topic, private);
    end $$;
    comment on function realtime.send_binary(bytea, text, text, boolean) is
      'Broadcasts bytes to a topic when the transaction commits; serializer 2.0.0 only.';
  end if;
end $outer$;

-- optional: realtime.broadcast_changes()
-- without it: Have the owner of the schema realtime make the missing function
do $outer$
begin
  if to_regprocedure(
    'realtime.broadcast_changes(text,text,text,text,text,record,record,text)') is null
  then
    create function realtime.broadcast_changes(
      topic_name text, event_name text, operation text, table_name text, table_schema text,
      new record, old record, level text default 'ROW')
    returns void
    language plpgsql
    as $$
    begin
      if level = 'STATEMENT' then
        raise exception using errcode = 'feature_not_supported',
          message = 'broadcast_changes is for triggers on each row, not on each statement';
      end if;
      perform realtime.send(
        jsonb_build_object('old_record', to_jsonb(old), 'record', to_jsonb(new),
                           'operation', operation, 'table', table_name, 'schema', table_schema),
        event_name, topic_name);
    end $$;
    comment on function realtime.broadcast_changes(
      text, text, text, text, text, record, record, text) is
      'For triggers: broadcasts the old and the new row to a private topic.';
  end if;
end $outer$;

-- optional: looking after the partitions of realtime.messages
-- without it: Messages are kept for ever, and partitions must be made by hand
do $outer$
begin
  -- A day's partition is made apart and then attached, which keeps nobody from sending. What
  -- fell into the default partition meanwhile is moved. Called by the server; changes nothing
  -- when another call is at work.
  create or replace function realtime.tidewire_keep_messages(retention_days integer)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog
  set timezone = 'UTC'
  set lock_timeout = '500ms'
  as $$
  declare
    today date := now()::date;
    parent regclass := to_regclass('realtime.messages');
    is_ours boolean;
    has_expiry boolean;
    day date;
    partition text;
    made integer := 0;
    dropped integer := 0;
    deleted integer := 0;
    put_off integer := 0;
  begin
    if not pg_try_advisory_xact_lock(x'746964656d736773'::bigint) then  -- "tidemsgs"
      return jsonb_build_object('state', 'busy');
    end if;
    if (select relkind from pg_class where oid = parent) is distinct from 'p' then
      return jsonb_build_object('state', 'not partitioned');
    end if;
    select relowner = (select oid from pg_roles where rolname = current_user)
      into is_ours from pg_class where oid = parent;
    select exists (select from pg_attribute where attrelid = parent and attname = 'expires_at'
                      and not attisdropped) into has_expiry;

    if is_ours and to_regclass('realtime.messages_default') is null then
      create table realtime.messages_default partition of realtime.messages default;
      alter table realtime.messages_default enable row level security;
    end if;

    for day in select today + n from generate_series(-1, 3) n loop
      partition := to_char(day, '"messages_"YYYY_MM_DD');
      continue when to_regclass('realtime.' || partition) is not null;
      begin
        execute format('create table realtime.%I (like realtime.messages including all)',
                       partition);
        execute format('alter table realtime.%I enable row level security', partition);
        if to_regclass('realtime.messages_default') is not null then
          lock table realtime.messages_default in access exclusive mode;
          execute format('with moved as (delete from realtime.messages_default'
                         ' where inserted_at >= %L and inserted_at < %L returning *)'
                         ' insert into realtime.%I select * from moved',
                         day, day + 1, partition);
        end if;
        execute format('alter table realtime.messages attach partition realtime.%I'
                       ' for values from (%L) to (%L)', partition, day, day + 1);
        made := made + 1;
      exception when lock_not_available then
        put_off := put_off + 1;
      end;
    end loop;

    for partition in
      select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent = parent and c.relname ~ '^messages_\d{4}_\d{2}_\d{2}$'
         and c.relname < to_char(today - retention_days, '"messages_"YYYY_MM_DD')
       order by c.relname
    loop
      begin
        execute format('drop table realtime.%I', partition);
        dropped := dropped + 1;
      exception when lock_not_available then
        put_off := put_off + 1;
      end;
    end loop;

    if has_expiry then
      delete from realtime.messages m
       where (m.id, m.inserted_at) in (
         select e.id, e.inserted_at from realtime.messages e
          where e.expires_at <= now() limit 10000);
      get diagnostics deleted = row_count;
    end if;
    return jsonb_build_object('state', 'done', 'made', made, 'dropped', dropped,
                              'deleted', deleted, 'put_off', put_off);
  end $$;
  revoke all on function realtime.tidewire_keep_messages(integer) from public;

  perform realtime.tidewire_keep_messages(3);
end $outer$;
