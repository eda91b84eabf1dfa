-- Restarts: the next generation of a run, under the same id, with an empty journal and a payload of its own.

create type restarting as (n int, run text, token bigint, payload text, payload_blob text);

-- The generation ends in the statement that begins the next one, which queues like new work. Its journal is read by
-- nobody from now on (entries of other attempts have other keys) and deleted outside the turn: it may be large.
create function turn_restarts(
  env text, moment timestamptz, floor double precision, pins boolean, items restarting[]
) returns setof told language plpgsql as $$
declare
  lanes bigint[];
  runs text[];
  again entering[];
begin
  -- A cancel that was asked for wins.
  return query select * from turn_ends(env, moment, floor, pins, array(
    select row(i.n, i.run, i.token, 'canceled', null, error_text('canceled', 'Canceled', 'canceled by request'),
               null, '{}', null)::ending
    from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run])
    where s.token = i.token and s.cancel_at is not null));
  with begun as (
    update outlast.run_state s
    set status = 'retrying', token = s.token + 1, generation = s.generation + 1, earlier_attempts = s.attempt,
        session_id = null, awaiting = null, rescues = 0, suspect = null, version_id = r.version_pin, updated_at = moment,
        active_seconds = s.active_seconds + extract(epoch from moment - coalesce(s.entered_at, moment))
    from unnest(items) i cross join lateral (
      select priority, version_pin, payload_blob from outlast.run where environment_id = env and id = i.run limit 1) r
    where s.run_id = any (array[i.run]) and s.token = i.token and s.status in ('dequeued', 'executing')
      and s.cancel_at is null
    returning s.run_id, s.lane_id, s.generation, r.priority, r.payload_blob as old_blob, i.payload, i.payload_blob
  ), given as (
    update outlast.run r set payload = b.payload, payload_type = 'application/json', payload_blob = b.payload_blob
    from begun b where (r.environment_id, r.id) between (env, b.run_id) and (env, b.run_id)
  ), dropped as (
    delete from outlast.blob d using begun b where d.id = any (array[b.old_blob])
  ), noted as (
    insert into outlast.event (run_id, at, kind, detail)
    select run_id, moment, 'restarted', 'generation ' || generation from begun
  )
  select array_agg(lane_id), array_agg(run_id),
    array_agg(row(run_id, 1, moment - make_interval(secs => priority), true, null, null)::entering)
  into lanes, runs, again from begun;
  if lanes is null then return; end if;
  -- A message must not go to a wait that nobody is in any more.
  delete from outlast.waiter w using unnest(runs) u where w.target > u || '/' and w.target < u || '0';
  perform release(env, lanes, floor);
  perform change_lanes(env, pins, runs);  -- it may run beside others again
  perform enter(env, moment, floor, pins, again);
end $$;

-- Delete what earlier generations left, before the code of this one begins: what they read of messages, too. What
-- they were given and did not read is the next one's.
create function forget_generations(runs text[]) returns void
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  one record;
begin
  for one in
    select s.run_id as run, s.earlier_attempts as last from outlast.run_state s
    where s.run_id = any (runs) and s.earlier_attempts > 0
  loop
    update outlast.input_message m set entry = null
    where m.run_id = one.run and m.entry is not null and exists (
      select from outlast.entry e left join outlast.delivery d on d.run_id = e.run_id and d.key = e.key
      where e.run_id = one.run and e.key = m.entry and e.attempt <= one.last and (d.key is null or d.abandoned));
    delete from outlast.input_message m
    where m.run_id = one.run and m.entry is not null and exists (
      select from outlast.entry e where e.run_id = one.run and e.key = m.entry and e.attempt <= one.last);
    delete from outlast.delivery d using outlast.entry e
    where d.run_id = one.run and e.run_id = one.run and e.key = d.key and e.attempt <= one.last;
    delete from outlast.entry e where e.run_id = one.run and e.attempt <= one.last;
    delete from outlast.position p where p.run_id = one.run and p.attempt <= one.last and p.attempt > 0;
  end loop;
end $$;
