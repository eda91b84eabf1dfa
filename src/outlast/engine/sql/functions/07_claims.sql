-- Claims: free slots meet ready runs, lane by lane in virtual time.

-- Make picked runs the property of their sessions: the token rises, the lane pays.
create function take(env text, moment timestamptz, picks pick[]) returns setof told language plpgsql as $$
begin
  return query
  with gone as (
    delete from outlast.ready r using unnest(picks) p
    where r.lane_id = p.lane and r.rank = p.rank and r.at = p.at and r.run_id = p.run
  ), claimed as (
    update outlast.run_state s
    set status = 'dequeued', token = s.token + 1, attempt = s.attempt + p.fresh::int,
        session_id = p.session, ready_at = null, entered_at = moment, updated_at = moment,
        earlier_seconds = case when p.fresh then s.active_seconds else s.earlier_seconds end,
        started_at = coalesce(s.started_at, moment),
        version_id = (select version_id from outlast.session where id = p.session)
    from unnest(picks) p
    where s.run_id = p.run
    returning s.run_id, s.token, s.session_id, p.fresh, p.home
  ), paid as (
    update outlast.lane l
    set queued = l.queued - p.count, running = l.running + p.count, vtime = greatest(l.vtime, p.tag),
        open = q.concurrency_limit is null or l.running + p.count < q.concurrency_limit
    from (select lane, count(*)::int as count, max(tag) as tag from unnest(picks) group by lane) p,
         outlast.queue q
    where l.id = p.lane and q.environment_id = env and q.name = l.queue
    returning l.queue, p.count, p.tag
  ), served as (
    update outlast.queue q
    set queued = q.queued - p.count, running = q.running + p.count, served = greatest(q.served, p.tag)
    from (select queue, sum(count)::int as count, max(tag) as tag from paid group by queue) p
    where q.environment_id = env and q.name = p.queue
  )
  select 'claim', 0, c.run_id, c.token, c.session_id,
    case when c.fresh then 'fresh' when c.home = c.session_id then 'warm' else 'cold' end
  from claimed c
  union all  -- what is still parked elsewhere is of no use any more
  select 'drop', 0, c.run_id, c.token - 1, c.home, null
  from claimed c where c.home <> c.session_id;
end $$;

-- Resumes whose coroutine is parked with a session of this server go home, beyond home's slots if need be.
create function claim_home(env text, moment timestamptz, room int, sessions text[]) returns setof told
language plpgsql as $$
declare
  picks pick[];
begin
  with warm as materialized (  -- few rows by their own index, before any lane is looked at
    select * from outlast.ready r where r.home = any (sessions) and r.home_until > moment
    order by r.at limit 500
  ), candidate as (
    select r.run_id, r.home, r.lane_id, r.rank, r.at, r.fresh, l.vtime, q.concurrency_limit, q.total_limit,
      q.running as queue_running, b.busy,
      row_number() over (partition by l.queue, l.key order by r.at, r.run_id) as k,
      row_number() over (partition by l.queue order by r.at, r.run_id) as queue_k
    from warm r
    join outlast.lane l on l.id = r.lane_id and l.environment_id = env
    cross join lateral (
      select * from outlast.queue q where q.environment_id = env and q.name = l.queue limit 1) q
    cross join lateral (
      select sum(s.running) as busy from outlast.lane s
      where s.environment_id = env and s.queue = l.queue and s.key = l.key) b
  )
  select array_agg(row(run_id, home, home, lane_id, rank, at, fresh, vtime + k)::pick) into picks
  from (
    select * from candidate
    where (concurrency_limit is null or busy + k <= concurrency_limit)
      and (total_limit is null or queue_running + queue_k <= total_limit)
    order by at, run_id limit room) c;
  if picks is not null then
    return query select * from take(env, moment, picks);
  end if;
end $$;

-- One pool of equal slots (sessions of one version, one kind of executor), for the routes it serves. Only the
-- lanes with the lowest virtual times can be served, so as many as there are slots are looked at.
create function claim_pool(env text, moment timestamptz, room int, routes text[], slots text[])
returns setof told language plpgsql as $$
declare
  most int := least(room, cardinality(slots));
  picks pick[];
  full_lanes bigint[];
  was_cut boolean;
begin
  if coalesce(most, 0) <= 0 then return; end if;
  with head as (
    select l.*, q.concurrency_limit as lim, q.total_limit - q.running as queue_room, count(*) over () as heads
    from outlast.queue q
    cross join unnest(routes) as r (route)
    cross join lateral (
      select l.id, l.queue, l.key, l.vtime, l.running from outlast.lane l
      where l.environment_id = env and l.queue = q.name and l.route = r.route and l.queued > 0 and l.open
      order by l.vtime limit most) l
    where q.environment_id = env and q.queued > 0 and not q.paused
      and (q.total_limit is null or q.running < q.total_limit)
    order by l.vtime, l.running limit most
  ), measured as (
    select h.*, least(most, ceil(2.0 * most / heads)) as share, h.lim - b.busy as lane_room
    from head h cross join lateral (
      select sum(s.running)::int as busy from outlast.lane s
      where s.environment_id = env and s.queue = h.queue and s.key = h.key) b
  ), candidate as (
    select m.id, m.queue, m.key, m.vtime, m.running, m.lane_room, m.queue_room, m.share,
      r.run_id, r.rank, r.at, r.fresh, r.home,
      row_number() over (partition by m.queue, m.key order by r.rank, r.at, r.run_id) as k,
      count(*) over (partition by m.id) as ready_found
    from measured m cross join lateral (
      select * from outlast.ready r
      where r.lane_id = m.id and (r.home is null or r.home_until <= moment)
      order by r.rank, r.at, r.run_id limit least(m.share, greatest(coalesce(m.lane_room, most), 0))) r
  ), allowed as (
    select *, row_number() over (partition by queue order by vtime + k, running, id) as queue_k
    from candidate where lane_room is null or k <= lane_room
  ), chosen as (
    select *, row_number() over (order by vtime + k, running, id, k) as n
    from allowed where queue_room is null or queue_k <= queue_room
  )
  select
    (select array_agg(row(run_id, slots[n], home, id, rank, at, fresh, vtime + k)::pick) from chosen where n <= most),
    (select array_agg(id) from measured where lane_room <= 0),
    (select coalesce(bool_or(ready_found >= share and share < most), false) from candidate)
  into picks, full_lanes, was_cut;
  if full_lanes is not null then
    update outlast.lane set open = false where id = any (full_lanes);
  end if;
  if picks is not null then
    return query select * from take(env, moment, picks);
  end if;
  -- The heads were full lanes, or one lane could have had more than its share: look again in the next turn.
  if full_lanes is not null or (was_cut and cardinality(picks) < most) then
    return query select 'more', 0, null::text, 0::bigint, null::text, null::text;
  end if;
end $$;
