-- Waitpoint tokens: made, completed, timed out; and waits that share their end through a key.
-- A token is completed once: the guard is its status. Its waiters go on in the same turn.

create type new_waitpoint as (
  n int, waitpoint text, tags text[], idempotency_key text, idempotency_ttl double precision, request_key text,
  timeout double precision, timeout_at double precision, callback_hash text, callback_sealed text,
  completes boolean  -- its end completes it, instead of a time-out
);
create type completion as (waitpoint text, output text);

-- Make tokens. A repeated request and a held idempotency key answer with the token there is.
create function turn_waitpoints(env text, moment timestamptz, items new_waitpoint[])
returns setof told language plpgsql as $$
declare
  item new_waitpoint;
  known text;
  ends timestamptz;
begin
  foreach item in array items loop
    select w.id into known from outlast.waitpoint w
    where w.environment_id = env and w.request_key = item.request_key limit 1;
    if known is not null then
      return next row('created', item.n, known, 0, null, 'false')::told;
      continue;
    end if;
    select w.id into known from outlast.waitpoint w
    where w.environment_id = env and w.idempotency_key = item.idempotency_key
      and w.idempotency_expires_at > moment
    order by w.id desc limit 1;
    if known is not null then
      return next row('created', item.n, known, 0, null, 'true')::told;
      continue;
    end if;
    ends := coalesce(to_timestamp(item.timeout_at), moment + make_interval(secs => item.timeout));
    insert into outlast.waitpoint (
      id, environment_id, tags, idempotency_key, idempotency_expires_at, request_key,
      callback_hash, callback_sealed, timeout_at, created_at)
    values (
      item.waitpoint, env, coalesce(item.tags, '{}'), item.idempotency_key,
      case when item.idempotency_key is not null then moment + make_interval(secs => item.idempotency_ttl) end,
      item.request_key, decode(item.callback_hash, 'hex'), decode(item.callback_sealed, 'hex'), ends, moment);
    insert into outlast.timer (environment_id, due_at, kind, ref, key)
    values (env, ends, 'token', item.waitpoint, case when item.completes then 'completed' else '' end);
    return next row('created', item.n, item.waitpoint, 0, null, 'false')::told;
  end loop;
end $$;

create function outcome_of_waitpoint(w outlast.waitpoint) returns text language sql immutable as $$
  select case w.status
    when 'completed' then json_build_object('ok', true, 'value', w.output)
    when 'timed_out' then json_build_object('ok', false, 'error', json_build_object(
      'kind', 'timed_out', 'type', 'WaitpointTimeout',
      'message', 'Waitpoint timed out at '
        || to_char(w.completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
    end::text $$;

-- What a run that comes to wait for a token hears at once: null while it is open.
create function answer_of_waitpoint(env text, target text) returns text language sql stable as $$
  select case
    when w.id is null then json_build_object('ok', false, 'error', json_build_object(
      'kind', 'raised', 'type', 'NotFound', 'message', 'there is no waitpoint token ' || target))::text
    else outcome_of_waitpoint(w) end
  from (select) one left join outlast.waitpoint w on w.id = target and w.environment_id = env $$;

create function finish_waitpoints(
  env text, moment timestamptz, floor double precision, pins boolean, ended text[]
) returns setof told language plpgsql as $$
declare
  done finish[];
begin
  if ended is null then return; end if;
  with gone as (
    delete from outlast.waiter where target = any (ended) returning target, run_id, key
  )
  select array_agg(row(g.run_id, g.key, outcome_of_waitpoint(w))::finish) into done
  from gone g join outlast.waitpoint w on w.id = any (array[g.target]);
  return query select * from finish_entries(env, moment, floor, pins, done);
end $$;

create function turn_completions(
  env text, moment timestamptz, floor double precision, pins boolean, items completion[]
) returns setof told language plpgsql as $$
declare
  ended text[];
begin
  with completed as (
    update outlast.waitpoint w set status = 'completed', output = i.output, completed_at = moment
    from (select distinct on (waitpoint) waitpoint, output
          from unnest(items) with ordinality as u (waitpoint, output, place) order by waitpoint, place) i
    where w.id = any (array[i.waitpoint]) and (w.environment_id = env) is true and w.status = 'waiting'
    returning w.id, w.timeout_at
  ), stopped as (
    delete from outlast.timer where ctid = any (array(
      select t.ctid from completed c cross join lateral (
        select ctid from outlast.timer
        where environment_id = env and due_at = c.timeout_at and kind = 'token' and ref = c.id limit 1) t))
  )
  select array_agg(id) into ended from completed;
  return query select * from finish_waitpoints(env, moment, floor, pins, ended);
end $$;

-- End the tokens whose time is over; the key of such a timer says how, if not by a time-out.
create function expire_waitpoints(
  env text, moment timestamptz, floor double precision, pins boolean, due outlast.timer[]
) returns setof told language plpgsql as $$
declare
  ended text[];
begin
  if due is null then return; end if;
  with expired as (
    update outlast.waitpoint w set status = coalesce(nullif(t.key, ''), 'timed_out'), completed_at = moment
    from unnest(due) t
    where w.id = any (array[t.ref]) and (w.environment_id = env) is true and w.status = 'waiting'
    returning w.id
  )
  select array_agg(id) into ended from expired;
  return query select * from finish_waitpoints(env, moment, floor, pins, ended);
end $$;

-- Give keyed waits the end of the first wait with their key, while the key holds.
create function share_keyed_waits(env text, moment timestamptz, calls new_call[]) returns new_call[]
language plpgsql as $$
declare
  item new_call;
  ends timestamptz;
  shared new_call[];
begin
  if not exists (select from unnest(calls) c where c.kind = 'wait' and c.idempotency_key is not null) then
    return calls;
  end if;
  foreach item in array calls loop
    if item.kind = 'wait' and item.idempotency_key is not null then
      ends := coalesce(to_timestamp(item.until), moment + make_interval(secs => item.seconds));
      insert into outlast.wait_key as k (environment_id, key, due_at, expires_at)
      values (env, item.idempotency_key, ends,
        coalesce(moment + make_interval(secs => item.idempotency_ttl), ends + interval '30 days'))
      on conflict (environment_id, key) do update
        set due_at = excluded.due_at, expires_at = excluded.expires_at where k.expires_at <= moment;
      select extract(epoch from k.due_at), null into item.until, item.seconds
      from outlast.wait_key k where k.environment_id = env and k.key = item.idempotency_key;
    end if;
    shared := shared || item;
  end loop;
  return shared;
end $$;
