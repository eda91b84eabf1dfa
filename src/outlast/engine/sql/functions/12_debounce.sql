-- Triggers that meet a delayed run of their key push it back instead of making another one.

-- Of equals within the turn the first one makes the run, the others push it. What another trigger was to be
-- answered with goes along.
create function debounce(
  env text, made created[], fresh new_run[], out answers created[], out leaders new_run[], out pushed pushing[]
) language plpgsql as $$
begin
  with item as materialized (
    select f, f.n, f.run, coalesce(d.run_id, first_value(f.run) over same) as target
    from unnest(fresh) f
    left join lateral (
      select d.run_id from outlast.debounce d join outlast.run_state s on s.run_id = d.run_id
      where d.environment_id = env and d.task = f.task and d.key = f.debounce_key and s.status = 'delayed'
      limit 1) d on true
    window same as (partition by f.task, f.debounce_key is null, coalesce(f.debounce_key, f.run) order by f.n)
  )
  select
    (select array_agg(i.f order by i.n) from item i where i.target = i.run),
    (select array_agg(row(i.target, i.f)::pushing order by i.n) from item i where i.target <> i.run),
    (select array_agg(case when i.target <> i.run
        then row(m.n, m.call, m.item, i.target, true, false)::created else m end order by m.n)
     from unnest(made) m left join item i on i.run = m.run)
  into leaders, pushed, answers;
end $$;

-- The last push counts, never past its longest delay since the run was made, and never forward. A trailing one
-- also brings its payload and options.
create function push_back(env text, moment timestamptz, pushed pushing[]) returns void language plpgsql as $$
declare
  later rescheduling[];
begin
  if pushed is null then return; end if;
  perform take_over(env, (
    select array_agg(l) from (
      select distinct on (p.target) p from unnest(pushed) p where (p.item).debounce_trailing
      order by p.target, (p.item).n desc) l (l)));
  select array_agg(row(null, d.id, null, extract(epoch from d.due))::rescheduling) into later
  from (
    select r.id, max(least(moment + make_interval(secs => (p.item).debounce_delay),
                           r.created_at + make_interval(secs => (p.item).debounce_most))) as due
    from unnest(pushed) p
    cross join lateral (
      select id, created_at, delay_until from outlast.run where environment_id = env and id = p.target limit 1) r
    group by r.id, r.delay_until
    having max(least(moment + make_interval(secs => (p.item).debounce_delay),
                     r.created_at + make_interval(secs => (p.item).debounce_most))) > r.delay_until) d;
  if later is not null then
    perform turn_reschedules(env, moment, later);
  end if;
  insert into outlast.idempotency (environment_id, task, key, run_id, expires_at)
  select distinct on ((p.item).task, (p.item).idempotency_key) env, (p.item).task, (p.item).idempotency_key, p.target,
    moment + make_interval(secs => (p.item).idempotency_ttl)
  from unnest(pushed) p where (p.item).idempotency_key is not null
  on conflict (environment_id, task, key) do update set run_id = excluded.run_id, expires_at = excluded.expires_at;
  insert into outlast.request (environment_id, key, run_id, created_at)
  select env, (p.item).request_key, p.target, moment from unnest(pushed) p where (p.item).request_key is not null
  on conflict do nothing;
end $$;

create function take_over(env text, pushed pushing[]) returns void language plpgsql as $$
begin
  if pushed is null then return; end if;
  delete from outlast.blob where id = any (array(
    select r.payload_blob from unnest(pushed) p
    cross join lateral (
      select payload_blob from outlast.run where environment_id = env and id = p.target limit 1) r));
  delete from outlast.tag t  -- not those that came later
  using unnest(pushed) p cross join lateral (
    select id, tags from outlast.run where environment_id = env and id = p.target limit 1) r
  where t.run_id = any (array[r.id]) and t.tag = any (r.tags);
  insert into outlast.tag (run_id, tag, environment_id)
  select p.target, t.tag, env from unnest(pushed) p cross join unnest((p.item).tags) as t (tag) order by 1, 2
  on conflict do nothing;
  update outlast.run r
  set payload = (p.item).payload, payload_type = (p.item).payload_type, payload_blob = (p.item).payload_blob,
      metadata = (p.item).metadata, tags = coalesce((p.item).tags, '{}'), retry = (p.item).retry,
      max_duration = (p.item).max_duration, machine = (p.item).machine, executor = (p.item).executor
  from unnest(pushed) p where (r.environment_id, r.id) between (env, p.target) and (env, p.target);
  perform move_lanes(env, array(
    select row(p.target, split_part(l.route, '/', 1) || '/' || (p.item).executor, l.queue)::moving
    from unnest(pushed) p
    join outlast.run_state s on s.run_id = any (array[p.target])
    join outlast.lane l on l.id = any (array[s.lane_id])
    where split_part(l.route, '/', 2) <> (p.item).executor));
end $$;
