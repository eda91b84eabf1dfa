-- The turn: everything that moves a run of one environment between states, in one transaction, one round trip.

create function play(
  env text, clock timestamptz, ends json, suspends json, wakes json, starts json, calls json, runs json,
  others json, pools json, homes text[]
) returns setof told language plpgsql as $$
declare
  moment timestamptz;
  place outlast.environment;
  floor double precision;
  running int;
  queued int;
  has_canceled boolean;
  triggered new_run[];
  -- What few turns hold; each kind is an array in `others`.
  restarts json := others -> 'restarts';
  resumes json := others -> 'resumes';
  frees json := others -> 'frees';
  rescues json := others -> 'rescues';
  gones json := others -> 'gones';
  overtimes json := others -> 'overtimes';
  cancels json := others -> 'cancels';
  reschedules json := others -> 'reschedules';
  waitpoints json := others -> 'waitpoints';
  completions json := others -> 'completions';
  messages json := others -> 'messages';
  given_up json := others -> 'given_up';
  arrivals json := others -> 'arrivals';
begin
  select * into place from outlast.environment where id = env for update;  -- single writer; lock, then look
  moment := coalesce(clock, clock_timestamp());
  select coalesce(max(served), 0) into floor from outlast.queue where environment_id = env;

  if starts is not null then
    update outlast.run_state s set status = 'executing'
    from json_populate_recordset(null::holding, starts) i
    where s.run_id = any (array[i.run]) and s.token = i.token and s.status = 'dequeued';
  end if;
  if ends is not null then
    return query select * from turn_ends(env, moment, floor, place.pins_versions,
      array(select i::ending from json_populate_recordset(null::ending, ends) i));
  end if;
  if restarts is not null then
    return query select * from turn_restarts(env, moment, floor, place.pins_versions,
      array(select i::restarting from json_populate_recordset(null::restarting, restarts) i));
  end if;
  if suspends is not null then
    return query select * from turn_suspends(env, moment, floor,
      array(select i::suspension from json_populate_recordset(null::suspension, suspends) i));
  end if;
  if wakes is not null then
    perform turn_wakes(env, moment, floor, place.pins_versions,
      array(select i::holding from json_populate_recordset(null::holding, wakes) i));
  end if;
  if resumes is not null then
    perform turn_resumes(env, moment, floor, place.pins_versions,
      array(select run from json_to_recordset(resumes) as r (run text)));
  end if;
  if frees is not null then
    perform turn_frees(env, moment, floor, place.pins_versions,
      array(select version from json_to_recordset(frees) as f (version text)));
  end if;
  if rescues is not null then
    return query select * from rescue(env, moment, floor, place.pins_versions,
      array(select i::rescuing from json_populate_recordset(null::rescuing, rescues) i), 'its executor was lost', true);
  end if;
  if gones is not null then
    return query select * from rescue(env, moment, floor, place.pins_versions,
      array(select i::rescuing from json_populate_recordset(null::rescuing, gones) i), 'handed back', false);
  end if;
  if reschedules is not null then
    return query select * from turn_reschedules(env, moment,
      array(select i::rescheduling from json_populate_recordset(null::rescheduling, reschedules) i));
  end if;
  if completions is not null then
    return query select * from turn_completions(env, moment, floor, place.pins_versions,
      array(select i::completion from json_populate_recordset(null::completion, completions) i));
  end if;
  if messages is not null then
    return query select * from turn_messages(env, moment, floor, place.pins_versions,
      array(select i::new_message from json_populate_recordset(null::new_message, messages) i));
  end if;
  if given_up is not null then
    return query select * from turn_given_up(env, moment, floor, place.pins_versions,
      array(select i::giving_up from json_populate_recordset(null::giving_up, given_up) i));
  end if;
  if arrivals is not null then
    perform turn_arrivals(env, moment, floor, place.pins_versions,
      array(select i::arrival from json_populate_recordset(null::arrival, arrivals) i));
  end if;
  return query select * from turn_timers(env, moment, floor, place.pins_versions, 500);
  if overtimes is not null then
    return query select * from force_end(env, moment, floor, place.pins_versions, (
      select array_agg(s.run_id) from json_populate_recordset(null::holding, overtimes) i
      join outlast.run_state s on s.run_id = any (array[i.run])
      where s.token = i.token and s.status in ('dequeued', 'executing')),
      'timed_out', error_text('timed_out', 'MaxDurationExceeded',
                              'worked longer than its max_duration; waits do not count'));
  end if;
  if cancels is not null then
    return query select * from turn_cancels(env, moment, floor, place.pins_versions,
      array(select i::cancellation from json_populate_recordset(null::cancellation, cancels) i));
  end if;
  if waitpoints is not null then
    return query select * from turn_waitpoints(env, moment,
      array(select i::new_waitpoint from json_populate_recordset(null::new_waitpoint, waitpoints) i));
  end if;
  if runs is not null or calls is not null then
    triggered := array(select i::new_run from json_populate_recordset(null::new_run, runs) i);
    return query select * from turn_triggers(env, moment, floor, place.pins_versions,
      array(select i::new_call from json_populate_recordset(null::new_call, calls) i), triggered);
    return next row('moment', 0, null, 0, null, extract(epoch from moment))::told;
  end if;
  select coalesce(sum(q.running) filter (where q.name <> cancel_queue()), 0), coalesce(sum(q.queued), 0),
    coalesce(bool_or(q.name = cancel_queue() and q.queued > 0), false)
  into running, queued, has_canceled
  from outlast.queue q where q.environment_id = env;
  -- No pause and no limit holds back canceled runs that want to tell their code. While some of them go, the others
  -- wait for the next turn, which knows the slots that are left.
  if has_canceled then
    return query select * from turn_claims(env, moment, 500, 500, queued, pools, homes, cancel_queue());
    has_canceled := found;
  end if;
  if has_canceled then
    return next row('more', 0, null, 0, null, null)::told;
  elsif queued > 0 and not place.paused then
    return query select * from turn_claims(env, moment,
      floor(place.concurrency_limit * place.burst_factor)::int - running, place.concurrency_limit, queued,
      pools, homes, null);
  end if;
  if queued > 0 then
    select coalesce(sum(q.queued), 0) into queued from outlast.queue q where q.environment_id = env;
    return next row('left', 0, null, 0, null, queued)::told;
  end if;
  if queued > 0 and runs is not null then
    perform time_starts(env, moment, triggered);
  end if;
  return query
    select 'due', 0, null::text, 0::bigint, null::text, extract(epoch from min(d.at) - moment)::text
    from (
      (select due_at as at from outlast.timer where environment_id = env order by due_at limit 1)
      union all  -- a warm home that does not claim in time
      (select moment + interval '2 seconds' from outlast.ready r
       where queued > 0 and r.home = any (homes) and r.home_until > moment limit 1)
    ) d having min(d.at) is not null;
end $$;

-- `queued`: no more runs than these can be claimed.
create function turn_claims(
  env text, moment timestamptz, room int, base int, queued int, pools json, homes text[], only_queue text
) returns setof told language plpgsql as $$
declare
  pool record;
  telling told;
  alive text[];  -- a session that another server declared lost claims nothing
begin
  select array_agg(s.id) into alive from outlast.session s
  where s.environment_id = env and s.lost_at is null;
  if homes is not null then
    for telling in select * from claim_home(env, moment, room, base, (
      select array_agg(h) from unnest(homes) h where h = any (alive)), only_queue) loop
      room := room - 1;
      queued := queued - 1;
      return next telling;
    end loop;
  end if;
  room := least(room, queued);
  for pool in select * from json_to_recordset(pools) as p (routes text[], sessions text[], free int[]) loop
    exit when room <= 0;
    -- Slots of equal sessions are dealt out in turn, so that load spreads; no more than there is work for.
    for telling in select * from claim_pool(env, moment, room, base, pool.routes, array(
      select s.id from unnest(pool.sessions, pool.free) as s (id, free)
      cross join lateral generate_series(1, least(s.free, room)) g (n)
      where s.id = any (alive) order by g.n, s.id limit room), only_queue) loop
      if telling.kind = 'claim' then room := room - 1; end if;
      return next telling;
    end loop;
  end loop;
end $$;

-- What workers on other servers must hear goes to their mail in the same commit.
-- The plan settings and one idiom make plans independent of the statistics of the moment they were made at:
-- `x = any (array[y])` on the first column of an index is an equality that can only be looked up. A plain one can also
-- be merged or hashed, so a plan made while a table was small would read all of it later, in every turn; so would
-- another index that fits a condition, which `(...) is true` keeps from it.
create function turn(
  env text,
  clock timestamptz,  -- null: the database's; tests own it
  ends json, suspends json, wakes json, starts json, calls json, runs json, others json, pools json,
  homes text[], server text
) returns setof told
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set enable_bitmapscan = off
set enable_material = off
set jit = off
as $$
begin
  return query
    with heard as (
      select * from play(env, clock, ends, suspends, wakes, starts, calls, runs, others, pools, homes)
    ), posted as (
      insert into outlast.mail (session_id, kind, run_id, token, data)
      select h.session, h.kind, h.run, h.token, h.data
      from heard h join outlast.session s on s.id = h.session
      where h.kind in ('result', 'cancel', 'drop') and s.server_id is distinct from server and s.lost_at is null
    ), alerted as (  -- alerts are looked up for failed runs alone
      insert into outlast.alert_due (alert_id, environment_id, type, subject, detail, occurred_at, due_at)
      select a.id, env, 'alert.run.failed', h.run, h.data, a.moment, a.moment
      from heard h
      cross join lateral (
        select id, coalesce(clock, clock_timestamp()) as moment from outlast.alert
        where environment_id = any (array[env]) and enabled and 'alert.run.failed' = any (types)
          and h.run is not null offset 0) a
      where h.kind = 'ended' and h.data in ('failed', 'crashed', 'system_failure', 'timed_out')
    )
    select * from heard;
end $$;
