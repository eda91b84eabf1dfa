-- Runs that were parked because no version declared their task or queue, and one does now.

create type arrival as (
  n int, run text, queue text, executor text, retry text, ttl double precision, max_duration double precision
);

-- A run that nobody has queued yet changes its lane: the key stays.
create type moving as (run text, route text, queue text);

create function move_lanes(env text, items moving[]) returns void language plpgsql as $$
begin
  insert into outlast.lane (environment_id, queue, key, route, fairness_group)
  select env, i.queue, l.key, i.route, max(l.fairness_group)
  from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run])
    join outlast.lane l on l.id = any (array[s.lane_id])
  group by i.queue, l.key, i.route
  on conflict do nothing;
  update outlast.run_state s
  set lane_id = (select t.id from outlast.lane t
                 where t.environment_id = env and t.queue = i.queue and t.key = l.key and t.route = i.route)
  from unnest(items) i, outlast.lane l
  where s.run_id = any (array[i.run]) and l.id = any (array[s.lane_id]);
end $$;

create function turn_arrivals(
  env text, moment timestamptz, floor double precision, pins boolean, items arrival[]
) returns void language plpgsql as $$
declare
  here arrival[] := array(
    select i from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run])
    where s.environment_id = env and s.status = 'pending_version');
begin
  insert into outlast.queue (environment_id, name) select distinct env, queue from unnest(here) on conflict do nothing;
  update outlast.run r
  set queue = i.queue, executor = i.executor, retry = i.retry, ttl = i.ttl, max_duration = i.max_duration
  from unnest(here) i where (r.environment_id, r.id) between (env, i.run) and (env, i.run);
  perform move_lanes(env, array(select row(run, 'current/' || executor, queue)::moving from unnest(here)));
  with late as (
    update outlast.run_state s set status = 'delayed', updated_at = moment
    from unnest(here) i cross join lateral (
      select id, delay_until from outlast.run where environment_id = env and id = i.run limit 1) r
    where s.run_id = any (array[i.run]) and r.delay_until > moment
    returning r.id, r.delay_until
  )
  insert into outlast.timer (environment_id, due_at, kind, ref)
  select env, delay_until, 'delay', id from late
  union all
  select env, greatest(moment, r.delay_until) + make_interval(secs => i.ttl), 'ttl', i.run
  from unnest(here) i cross join lateral (
    select delay_until from outlast.run where environment_id = env and id = i.run limit 1) r
  where i.ttl > 0
  on conflict do nothing;
  perform enter(env, moment, floor, pins, (
    select array_agg(row(s.run_id, 1, moment - make_interval(secs => r.priority), true, null, null)::entering)
    from unnest(here) i
    join outlast.run_state s on s.run_id = any (array[i.run])
    cross join lateral (select priority from outlast.run where environment_id = env and id = i.run limit 1) r
    where s.status = 'pending_version'));
end $$;

-- Parked runs whose task is declared by now, if not their queue, run as it says.
create function place_parked(env text, runs text[]) returns void language plpgsql as $$
declare
  moved moving[];
begin
  select array_agg(row(s.run_id, 'current/' || (t.manifest::json ->> 'executor'), r.queue)::moving) into moved
  from outlast.run_state s
  cross join lateral (  -- by order, as in claims.sql
    select id, task, queue from outlast.run x where (x.environment_id, x.id) >= (env, s.run_id)
    order by x.environment_id, x.id limit 1) r
  join outlast.environment e on e.id = env
  join outlast.task t on t.id = r.task and t.version_id = e.current_version_id
  where s.run_id = any (runs) and s.status = 'pending_version' and r.id = s.run_id;
  if moved is null then return; end if;
  perform move_lanes(env, moved);
  update outlast.run r set executor = split_part(m.route, '/', 2)
  from unnest(moved) m where (r.environment_id, r.id) between (env, m.run) and (env, m.run);
end $$;
