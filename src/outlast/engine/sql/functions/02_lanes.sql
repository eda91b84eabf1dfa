-- Lanes: entering them, leaving them, and the counters that limits and depths are read from.

-- Give runs back their slots' worth: one running run less for each lane in `lanes` (repeats count).
create function release(env text, lanes bigint[], floor double precision) returns void
language plpgsql as $$
declare
  grouped bigint[];
begin
  with freed as (
    select lane_id, count(*)::int as freed from unnest(lanes) as lane_id group by lane_id
  ), released as (
    update outlast.lane l
    set running = l.running - f.freed, open = true,
        vtime = case when l.open then l.vtime else greatest(l.vtime, floor) end
    from freed f
    where l.id = any (array[f.lane_id])
    returning l.id, l.queue, l.key, f.freed, case when l.fairness_group is not null and l.vtime <= floor then l.id end as back
  ), reopened as (  -- the same key waiting on other routes
    update outlast.lane s
    set open = true, vtime = greatest(s.vtime, floor)
    from (select distinct env as place, queue, key from released) r
    where s.environment_id = any (array[r.place]) and s.queue = r.queue and s.key = r.key
      and not s.open
      and s.id not in (select id from released)
    returning case when s.fairness_group is not null and s.vtime <= floor then s.id end as back
  ), lightened as (
    update outlast.queue q
    set running = q.running - r.freed
    from (select queue, sum(freed)::int as freed from released group by queue) r
    where q.environment_id = env and q.name = r.queue
  )
  select array_agg(back) into grouped
  from (select back from released union all select back from reopened) b where back is not null;
  if grouped is not null then perform space_out(env, floor, grouped); end if;
end $$;

-- Where the ready rows of runs stand. Each is looked up by its whole key: a join that was planned while few were
-- ready would read all of them ever after.
create function ready_rows(runs text[]) returns tid[] language plpgsql stable as $$
begin return array(
    select r.ctid
    from unnest(runs) as u (id)
    cross join lateral (
      select lane_id, ready_rank, ready_at from outlast.run_state x where x.run_id = u.id limit 1) s
    cross join lateral (
      select x.ctid from outlast.ready x
      where x.lane_id = s.lane_id and x.rank = s.ready_rank and x.at = s.ready_at and x.run_id = u.id limit 1) r);
end $$;

-- Take queued runs out of their lanes (cancel, expire): their ready rows go, depths shrink.
create function withdraw(env text, runs text[]) returns void
language plpgsql as $$
begin
  if coalesce(cardinality(runs), 0) = 0 then return; end if;
  with gone as (
    delete from outlast.ready r where r.ctid = any (ready_rows(runs)) returning r.lane_id
  ), emptied as (
    update outlast.lane l set queued = l.queued - g.count
    from (select lane_id, count(*)::int as count from gone group by lane_id) g
    where l.id = any (array[g.lane_id])
    returning l.queue, g.count
  )
  update outlast.queue q set queued = q.queued - e.count
  from (select queue, sum(count)::int as count from emptied group by queue) e
  where q.environment_id = env and q.name = e.queue;
end $$;

-- The route a run needs: where versions are pinned its own version once started, until it is freed from it;
-- a suspect runs alone, and so does what needs a machine after a lack of memory.
create function route_of(env text, s outlast.run_state, route text, pins boolean) returns text
language sql stable as $$
  select case when not pins then split_part(route, '/', 1)
              when s.version_id is not null then s.version_id
              when s.attempt = 0 then split_part(route, '/', 1)
              else 'current' end
    || '/' || case when s.suspect is not null or s.machine is not null then 'dedicated' else (
      select executor from outlast.run r where r.environment_id = env and r.id = s.run_id) end $$;

-- Put runs into `ready`. Most enter the lane they have; pinned and suspect ones may need another route.
-- A lane that was empty starts at max(own, floor), so that it never catches up at the cost of others.
create function enter(env text, moment timestamptz, floor double precision, pins boolean, items entering[])
returns void language plpgsql as $$
declare
  grouped bigint[];
begin
  if coalesce(cardinality(items), 0) = 0 then return; end if;
  if pins or exists (
    select from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run]) where s.suspect is not null or s.machine is not null
  ) then
    perform change_lanes(env, pins, array(select run from unnest(items)));
  end if;
  with entered as (
    update outlast.run_state s
    set status = 'queued', ready_rank = i.rank, ready_at = i.at, awaiting = null, updated_at = moment,
        session_id = i.home, reason = null
    from unnest(items) i
    where s.run_id = any (array[i.run])
    returning s.run_id, s.lane_id, i.rank, i.at, i.fresh, i.home, i.home_until
  ), made as (
    insert into outlast.ready (lane_id, rank, at, run_id, fresh, home, home_until)
    select lane_id, rank, at, run_id, fresh, home, home_until from entered
  ), grown as (
    update outlast.lane l
    set queued = l.queued + e.count,
        vtime = case when l.queued = 0 then greatest(l.vtime, floor) else l.vtime end,
        open = l.open or e.goes_on  -- closed for its rate, perhaps, which does not count what goes on
    from (select lane_id, count(*)::int as count, bool_or(rank = 0) as goes_on from entered group by lane_id) e
    where l.id = any (array[e.lane_id])
    returning l.queue, e.count,
      case when l.fairness_group is not null and l.queued = e.count and l.vtime <= floor then l.id end as back
  ), deepened as (
    update outlast.queue q set queued = q.queued + g.count
    from (select queue, sum(count)::int as count from grown group by queue) g
    where q.environment_id = env and q.name = g.queue
  )
  select array_agg(back) into grouped from grown where back is not null;
  perform space_out(env, floor, grouped);
end $$;

-- Lanes of a group that come back stand one behind the other in virtual time, so that a tenant with many keys
-- is served like a tenant with one.
create function space_out(env text, floor double precision, lanes bigint[]) returns void language plpgsql as $$
begin
  if lanes is null then return; end if;
  with placed as (
    select l.id, l.queue, l.fairness_group as name, greatest(g.tail + 1, floor)
      + row_number() over (partition by l.queue, l.fairness_group order by l.vtime, l.id) - 1 as place
    from unnest(lanes) i
    join outlast.lane l on l.id = any (array[i])
    left join lateral (
      select tail from outlast.fairness_group g
      where g.environment_id = env and g.queue = l.queue and g.name = l.fairness_group limit 1) g on true
  ), moved as (
    update outlast.lane l set vtime = p.place from placed p where l.id = any (array[p.id])
  )
  insert into outlast.fairness_group as g (environment_id, queue, name, tail)
  select env, queue, name, max(place) from placed group by queue, name
  on conflict (environment_id, queue, name) do update set tail = greatest(g.tail, excluded.tail);
end $$;

create function change_lanes(env text, pins boolean, runs text[]) returns void language plpgsql as $$
begin
  insert into outlast.lane (environment_id, queue, key, route, fairness_group)
  select distinct env, l.queue, l.key, route_of(env, s, l.route, pins), l.fairness_group
  from outlast.run_state s join outlast.lane l on l.id = any (array[s.lane_id])
  where s.run_id = any (runs) and route_of(env, s, l.route, pins) <> l.route
  on conflict do nothing;
  update outlast.run_state s
  set lane_id = (select t.id from outlast.lane t where t.environment_id = env and t.queue = l.queue
                 and t.key = l.key and t.route = route_of(env, s, l.route, pins))
  from outlast.lane l
  where s.run_id = any (runs) and l.id = any (array[s.lane_id]) and route_of(env, s, l.route, pins) <> l.route;
end $$;

-- A key belongs to the group that its latest trigger names.
create function regroup(env text, items new_run[]) returns void language plpgsql as $$
begin
  update outlast.lane l set fairness_group = i.name
  from (select distinct on (queue, coalesce(concurrency_key, '')) env as place, queue,
          coalesce(concurrency_key, '') as key, fairness_group as name
        from unnest(items) where fairness_group is not null
        order by queue, coalesce(concurrency_key, ''), n desc) i
  where l.environment_id = any (array[i.place]) and l.queue = i.queue and l.key = i.key
    and l.fairness_group is distinct from i.name;
end $$;
