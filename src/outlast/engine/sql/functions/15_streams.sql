-- Streams. Chunks are written outside the cycle, each once per attempt: positions are locked before streams, both in
-- key order. Messages wake runs, so they go through the turn: numbered there, each received by one entry, in order.

create type new_chunk as (
  n int, run text, token bigint, target text, key text, scope text, ordinal bigint, data text
);
create type due_chunk as (
  n int, run text, attempt int, scope text, ordinal bigint, goal text, key text, data text, problem text
);
create type new_message as (n int, run text, key text, message text);
create type giving_up as (n int, run text, token bigint, keys text[]);

-- Append chunks of executing runs, fenced by their token, and of writers outside, who have none. Tells each stream
-- that grew, and which chunks (n) were left out and why.
create function append_chunks(items json) returns table (n int, goal text, key text, problem text)
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  largest constant int := 512 * 1024;
  most constant bigint := 300 * 1024 * 1024;
  due due_chunk[];
begin
  due := array(
    select row(i.n, i.run, case when i.token is null then 0 else s.attempt end, i.scope, i.ordinal, g.goal, i.key, i.data,
      case when t.run_id is null then 'there is no such run in its environment'
        when e.run_id is not null then 'the run has ended'
        when octet_length(i.data) > largest then 'the chunk is larger than 512 KB' end)::due_chunk
    from json_populate_recordset(null::new_chunk, items) i
    join outlast.run_state s on s.run_id = any (array[i.run]) and (i.token is null or s.token = i.token)
    cross join lateral (
      select x.parent_id, x.root_id from outlast.run x where (x.environment_id, x.id) >= (s.environment_id, i.run)
      order by x.environment_id, x.id limit 1) r
    cross join lateral (
      select coalesce(case i.target when 'self' then i.run when 'parent' then r.parent_id when 'root' then r.root_id
        else i.target end, i.run) as goal) g
    left join outlast.run_state t on t.run_id = any (array[g.goal]) and t.environment_id = s.environment_id
    left join outlast.run_end e on e.run_id = any (array[g.goal])
    order by i.n);
  insert into outlast.position (run_id, attempt, scope, ordinal)
  select distinct d.run, d.attempt, d.scope, 0::bigint from unnest(due) d order by 1, 2, 3
  on conflict do nothing;
  perform from outlast.position p
  where p.run_id = any (array(select d.run from unnest(due) d))
    and (p.run_id, p.attempt, p.scope) in (select d.run, d.attempt, d.scope from unnest(due) d)
  order by p.run_id, p.attempt, p.scope
  for update;
  due := array(
    select d from unnest(due) d
    join outlast.position p on p.run_id = any (array[d.run]) and p.attempt = d.attempt and p.scope = d.scope
    where d.ordinal > p.chunks order by d.n);
  update outlast.position p set chunks = top.ordinal
  from (select d.run, d.attempt, d.scope, max(d.ordinal) as ordinal from unnest(due) d group by 1, 2, 3) top
  where p.run_id = any (array[top.run]) and p.attempt = top.attempt and p.scope = top.scope;
  insert into outlast.stream (run_id, key)
  select distinct d.goal, d.key from unnest(due) d where d.problem is null order by 1, 2
  on conflict do nothing;
  perform from outlast.stream s
  where s.run_id = any (array(select d.goal from unnest(due) d)) and (s.run_id, s.key) in (
    select d.goal, d.key from unnest(due) d where d.problem is null)
  order by s.run_id, s.key
  for update;
  return query
    with placed as (
      select d.n, d.goal, d.key, d.data,
        s.bytes + sum(octet_length(d.data)) over same_stream <= most as fits,
        s.chunks + row_number() over same_stream - 1 as index
      from unnest(due) d join outlast.stream s on s.run_id = any (array[d.goal]) and s.key = d.key
      where d.problem is null
      window same_stream as (partition by d.goal, d.key order by d.n)
    ), written as (
      insert into outlast.stream_chunk (run_id, key, index, data)
      select goal, key, index, data from placed where fits
    ), grown as (
      update outlast.stream s
      set chunks = s.chunks + g.count, bytes = s.bytes + g.size, updated_at = clock_timestamp()
      from (select goal, key, count(*) as count, sum(octet_length(data)) as size
            from placed where fits group by goal, key) g
      where s.run_id = any (array[g.goal]) and s.key = g.key
      returning s.run_id, s.key
    )
    select null::int, run_id, key, null::text from grown
    union all
    select n, goal, key, 'the stream holds 300 MiB, which is the most' from placed where not fits
    union all
    select d.n, d.goal, d.key, d.problem from unnest(due) d where d.problem is not null;
end $$;

-- Number messages in the order of the turn and hand them to who waits. One that was taken before is not taken again.
create function turn_messages(
  env text, moment timestamptz, floor double precision, pins boolean, items new_message[]
) returns setof told language plpgsql as $$
declare
  most constant bigint := 300 * 1024 * 1024;
  item new_message;
  held outlast.input_message;
  place bigint;
  goals text[] := '{}';
begin
  foreach item in array items loop
    select m.* into held from outlast.input_message m
    join outlast.run_state s on s.run_id = m.run_id and s.environment_id = env
    where m.run_id = item.run and m.id = item.message;
    if held.number is not null then
      return next row('created', item.n, item.run, 0, null, 'sent')::told;
      continue;
    end if;
    if held.id is null or exists (select from outlast.run_end e where e.run_id = item.run) then
      return next row('created', item.n, item.run, 0, null, 'ended')::told;
      continue;
    end if;
    insert into outlast.input_stream as s (run_id, key, messages, bytes)
    values (item.run, item.key, 1, octet_length(held.data))
    on conflict (run_id, key) do update
      set messages = s.messages + 1, bytes = s.bytes + excluded.bytes where s.bytes + excluded.bytes <= most
    returning messages into place;
    if place is null then
      return next row('created', item.n, item.run, 0, null, 'full')::told;
      continue;
    end if;
    update outlast.input_message m set number = place where m.run_id = item.run and m.id = item.message;
    goals := goals || (item.run || '/' || item.key);
    return next row('created', item.n, item.run, 0, null, 'sent')::told;
  end loop;
  return query select * from deliver_messages(env, moment, floor, pins, goals);
end $$;

-- Give the messages that nobody received to the entries that wait for them, the oldest first. What an entry received
-- that the code had given up by then goes back to the buffer.
create function deliver_messages(
  env text, moment timestamptz, floor double precision, pins boolean, goals text[]
) returns setof told language plpgsql as $$
declare
  goal text;
  run text;
  stream text;
  waiting record;
  received text;
  done finish[];
begin
  for goal in select distinct g from unnest(goals) g loop
    run := split_part(goal, '/', 1);
    stream := substr(goal, length(run) + 2);
    update outlast.input_message m set entry = null
    from outlast.run_state s, outlast.entry e, outlast.delivery d
    where s.run_id = run and e.run_id = run and e.attempt = s.attempt
      and d.run_id = run and d.key = e.key and d.abandoned and m.run_id = run and m.entry = e.key;
    delete from outlast.waiter w using outlast.entry e
    where w.target = goal and e.run_id = any (array[w.run_id]) and e.key = w.key and e.outcome is not null;
    for waiting in
      select e.key from outlast.waiter w
      join outlast.entry e on e.run_id = any (array[w.run_id]) and e.key = w.key
      join outlast.run_state s on s.run_id = any (array[e.run_id])
      left join outlast.delivery d on d.run_id = any (array[e.run_id]) and d.key = e.key
      where w.target = goal and (d.abandoned is not true or e.attempt <> s.attempt)
      order by e.created_at, e.position, e.key
    loop
      update outlast.input_message m set entry = waiting.key
      where m.run_id = run and m.id = (
        select x.id from outlast.input_message x
        where x.run_id = run and x.key = stream and x.number is not null and x.entry is null
        order by x.number limit 1)
      returning m.data into received;
      exit when not found;
      done := done || row(run, waiting.key, json_build_object('ok', true, 'value', received)::text)::finish;
      delete from outlast.waiter w where w.target = goal and w.run_id = run and w.key = waiting.key;
    end loop;
  end loop;
  return query select * from finish_entries(env, moment, floor, pins, done);
end $$;

-- The abandonment of a wait is written outside the turn: a message may have crossed it. It goes to the next wait.
create function turn_given_up(
  env text, moment timestamptz, floor double precision, pins boolean, items giving_up[]
) returns setof told language sql as $$
  select * from deliver_messages(env, moment, floor, pins, array(
    select distinct m.run_id || '/' || m.key
    from unnest(items) i
    join outlast.run_state s on s.run_id = any (array[i.run]) and s.token = i.token and s.environment_id = env
    join outlast.input_message m on m.run_id = any (array[i.run]) and m.entry = any (i.keys))) $$;

-- What a look into the buffer sees: the next message, which stays there, or nothing.
create function peek_message(run text, stream text) returns text language sql stable as $$
  select json_build_object('ok', true, 'value', (
    select m.data from outlast.input_message m
    where m.run_id = run and m.key = stream and m.number is not null and m.entry is null
    order by m.number limit 1))::text $$;
