-- Claims: free slots meet ready runs, lane by lane in virtual time.

-- Make picked runs the property of their sessions: the token rises, the lane pays. `executor`: the kind that all of
-- them take up; null: that of their lanes. It is told, so that the next turn knows what is free.
create function take(env text, moment timestamptz, picks pick[], executor text) returns setof told
language plpgsql as $$
begin
  return query
  with gone as (
    delete from outlast.ready r where r.ctid = any (array(select spot from unnest(picks)))
  ), claimed as (
    update outlast.run_state s
    set status = 'dequeued', token = s.token + 1, attempt = s.attempt + p.fresh::int,
        session_id = p.session, ready_at = null, entered_at = moment, updated_at = moment,
        earlier_seconds = case when p.fresh then s.active_seconds else s.earlier_seconds end,
        started_at = case when s.cancel_at is null then coalesce(s.started_at, moment) else s.started_at end,
        attempt_at = case when p.fresh then moment else s.attempt_at end,
        version_id = (select version_id from outlast.session where id = p.session)
    from unnest(picks) p
    where s.run_id = any (array[p.run])
    returning s.run_id, s.token, s.session_id, p.fresh, p.home, p.lane
  ), paid as (
    update outlast.lane l
    set queued = l.queued - p.count, running = l.running + p.count, vtime = greatest(l.vtime, p.place),
        open = q.concurrency_limit is null or l.running + p.count < q.concurrency_limit
    from (select lane, count(*)::int as count, max(tag) as tag, max(place) as place from unnest(picks) group by lane) p,
         outlast.queue q
    where l.id = any (array[p.lane]) and q.environment_id = env and q.name = any (array[l.queue])
    returning l.queue, p.count, p.tag
  ), served as (
    update outlast.queue q
    set queued = q.queued - p.count, running = q.running + p.count, served = greatest(q.served, p.tag)
    from (select queue, sum(count)::int as count, max(tag) as tag from paid group by queue) p
    where q.environment_id = env and q.name = p.queue
  )
  select 'claim', 0, c.run_id, c.token, c.session_id,
    case when c.fresh then 'fresh ' when c.home = c.session_id then 'warm ' else 'cold ' end
      || coalesce(executor, (select split_part(l.route, '/', 2) from outlast.lane l where l.id = c.lane))
  from claimed c
  union all  -- what is still parked elsewhere is of no use any more
  select 'drop', 0, c.run_id, c.token - 1, c.home, null
  from claimed c where c.home <> c.session_id;
end $$;

-- Resumes whose coroutine is parked with a session of this server go home, beyond home's slots if need be. A pause and
-- a limit hold them back as they do the others: they gave their slots back.
create function claim_home(env text, moment timestamptz, room int, base int, sessions text[], only_queue text)
returns setof told language plpgsql as $$
declare
  picks pick[];
begin
  if not exists (select from outlast.ready r where r.home = any (sessions) and r.home_until > moment) then
    return;
  end if;
  with warm as materialized (  -- few rows by their own index, before any lane is looked at
    select r.ctid as spot, r.* from outlast.ready r where r.home = any (sessions) and r.home_until > moment
    order by r.at limit 500
  ), candidate as (
    select r.run_id, r.spot, r.home, r.lane_id, r.rank, r.at, r.fresh, l.vtime, q.concurrency_limit,
      least(q.total_limit, base) as total_limit,
      q.running as queue_running, b.busy,
      row_number() over (partition by l.queue, l.key order by r.at, r.run_id) as k,
      row_number() over (partition by l.queue order by r.at, r.run_id) as queue_k
    from warm r
    cross join lateral (
      select * from outlast.lane where id = r.lane_id and environment_id = env and (only_queue is null or queue = only_queue)
      limit 1) l
    cross join lateral (
      select * from outlast.queue q where q.environment_id = env and q.name = l.queue and not q.paused limit 1) q
    cross join lateral (
      select sum(s.running) as busy from outlast.lane s
      where s.environment_id = env and s.queue = l.queue and s.key = l.key) b
  )
  select array_agg(row(run_id, spot, home, home, lane_id, rank, at, fresh, vtime + k, vtime + k)::pick) into picks
  from (
    select * from candidate
    where (concurrency_limit is null or busy + k <= concurrency_limit)
      and queue_running + queue_k <= total_limit
    order by at, run_id limit room) c;
  if picks is not null then
    return query select * from take(env, moment, picks, null);
  end if;
end $$;

-- A lane that nobody competes with needs no shares: its next runs in their order. Null: the whole of `claim_pool`
-- decides.
create function picks_alone(env text, moment timestamptz, most int, heads head[], slots text[]) returns pick[]
language plpgsql as $$
declare
  alone head := heads[1];
begin
  if cardinality(heads) > 1 or alone.rate_interval is not null or alone.fairness_group is not null then
    return null;
  end if;
  most := least(most, alone.queue_room, alone.lim - (
    select sum(s.running)::int from outlast.lane s
    where s.environment_id = env and s.queue = alone.queue and s.key = alone.key));
  if most <= 0 then return null; end if;
  return (
    select array_agg(row(run_id, spot, slots[k], home, alone.id, rank, at, fresh, alone.vtime + k, alone.vtime + k)::pick)
    from (
      select r.ctid as spot, r.*, row_number() over (order by r.rank, r.at, r.run_id) as k from outlast.ready r
      where r.lane_id = alone.id and (r.home is null or r.home_until <= moment)
      order by r.rank, r.at, r.run_id limit most) r);
end $$;

-- One pool of equal slots (sessions of one version, one kind of executor), for the routes it serves. Only the
-- lanes with the lowest virtual times can be served, so as many as there are slots are looked at. `base`: what one
-- queue may use of the environment's limit; the burst is for several. `only_queue`: of this queue alone.
create function claim_pool(env text, moment timestamptz, room int, base int, routes text[], slots text[], only_queue text)
returns setof told language plpgsql as $$
declare
  most int := least(room, cardinality(slots));
  heads head[];
  picks pick[];
  full_lanes bigint[];
  was_cut boolean;
  is_paced boolean;
  is_grouped boolean;
begin
  if coalesce(most, 0) <= 0 then return; end if;
  heads := array(
    select row(l.id, l.queue, l.key, l.vtime, l.running, l.fairness_group, q.concurrency_limit,
      least(q.total_limit, base) - q.running, q.rate_interval, q.rate_burst, q.rate_per_key,
      count(*) over (partition by l.queue, coalesce(l.fairness_group, l.id::text)))::head
    from outlast.queue q
    cross join unnest(routes) as r (route)
    cross join lateral (
      select l.id, l.queue, l.key, l.vtime, l.running, l.fairness_group from outlast.lane l
      where l.environment_id = env and l.queue = q.name and l.route = r.route and l.queued > 0 and l.open
        -- a rate holds back what starts, not what goes on
        and (q.blocked_until is null or q.blocked_until <= moment
             or exists (select from outlast.ready r where r.lane_id = l.id and r.rank = 0))
      order by l.vtime limit most) l
    where q.environment_id = env and (only_queue is null or q.name = only_queue)
      and q.queued > 0 and not q.paused and q.running < least(q.total_limit, base)
    order by l.vtime, l.running limit most);
  if cardinality(heads) = 0 then return; end if;
  picks := picks_alone(env, moment, most, heads, slots);
  if picks is not null then
    return query select * from take(env, moment, picks, split_part(routes[1], '/', 2));
    return;
  end if;
  with measured as (
    select h.*, least(most, ceil(2.0 * most / (siblings * sum(1.0 / siblings) over ()))) as share,
      h.lim - b.busy as lane_room, rate_room(moment, h.rate_interval, h.rate_burst, p.arrival) as rate_room
    from unnest(heads) h
    cross join lateral (
      select sum(s.running)::int as busy from outlast.lane s
      where s.environment_id = env and s.queue = h.queue and s.key = h.key) b
    left join lateral (
      select arrival from outlast.pace p
      where h.rate_interval is not null and p.environment_id = env and p.queue = h.queue
        and p.key = case when h.rate_per_key then h.key else '' end limit 1) p on true
  ), candidate as (
    select m.id, m.queue, m.key, m.vtime, m.running, m.lane_room, m.queue_room, m.share, m.siblings, m.fairness_group,
      m.rate_room, m.rate_per_key, r.run_id, r.spot, r.rank, r.at, r.fresh, r.home,
      row_number() over (partition by m.queue, m.key order by r.rank, r.at, r.run_id) as k,
      count(*) over (partition by m.id) as ready_found
    from measured m cross join lateral (
      select r.ctid as spot, r.* from outlast.ready r
      where r.lane_id = m.id and (r.home is null or r.home_until <= moment)
      order by r.rank, r.at, r.run_id limit least(m.share, greatest(coalesce(m.lane_room, most), 0))) r
  ), allowed as (
    select *, vtime + 1 + (k - 1) * siblings as tag,
      row_number() over (partition by queue order by vtime + k * siblings, running, id) as queue_k,
      count(*) filter (where fresh) over (
        partition by queue, case when rate_per_key then key end
        order by vtime + k * siblings, running, id rows unbounded preceding) as fresh_k
    from candidate where lane_room is null or k <= lane_room
  ), chosen as (
    select *, row_number() over (order by tag, running, id, k) as n
    from allowed
    where queue_k <= queue_room and (rate_room is null or not fresh or fresh_k <= rate_room)
  ), placed as (
    select c.*, case when c.fairness_group is null then tag else greatest(g.tail, vtime)
      + row_number() over (partition by c.queue, c.fairness_group order by n) end as place
    from chosen c left join lateral (
      select tail from outlast.fairness_group g where c.fairness_group is not null
        and g.environment_id = env and g.queue = c.queue and g.name = c.fairness_group limit 1) g on true
    where n <= most
  )
  select
    (select array_agg(row(run_id, spot, slots[n], home, id, rank, at, fresh, tag, place)::pick) from placed),
    (select array_agg(id) from measured m where lane_room <= 0 or (
      m.rate_room = 0 and m.rate_per_key and not exists (select from placed p where p.id = m.id))),
    (select coalesce(bool_or(ready_found >= share and share < most), false) from candidate),
    (select bool_or(rate_room is not null and fresh) from placed),
    (select bool_or(fairness_group is not null) from placed)
  into picks, full_lanes, was_cut, is_paced, is_grouped;
  if full_lanes is not null then
    update outlast.lane set open = false where id = any (full_lanes);
  end if;
  if picks is not null then
    return query select * from take(env, moment, picks, split_part(routes[1], '/', 2));
    if is_paced then perform keep_pace(env, moment, picks); end if;
    if is_grouped then perform keep_tails(env, picks); end if;
  end if;
  -- The heads were full lanes, or one lane could have had more than its share: look again in the next turn.
  if full_lanes is not null or (was_cut and cardinality(picks) < most) then
    return query select 'more', 0, null::text, 0::bigint, null::text, null::text;
  end if;
end $$;

-- GCRA: how many may start now; null where there is no rate. A thousandth of an interval forgives the rounding of moments.
create function rate_room(moment timestamptz, interval_ double precision, burst int, arrival timestamptz) returns int
language sql immutable as $$
  select case when interval_ is not null then greatest(0, burst
    - ceil(greatest(0, coalesce(extract(epoch from arrival - moment), 0)) / interval_ - 0.001))::int end $$;

-- Starts move the arrival on. What may not start before a later moment is closed until a timer opens it.
create function keep_pace(env text, moment timestamptz, picks pick[]) returns void language plpgsql as $$
begin
  with paced as (
    insert into outlast.pace as p (environment_id, queue, key, arrival)
    select env, q.name, case when q.rate_per_key then l.key else '' end,
      moment + make_interval(secs => q.rate_interval * count(*))
    from unnest(picks) i
    join outlast.lane l on l.id = any (array[i.lane])
    join outlast.queue q on q.environment_id = env and q.name = l.queue
    where i.fresh and q.rate_interval is not null
    group by q.name, q.rate_interval, case when q.rate_per_key then l.key else '' end
    on conflict (environment_id, queue, key)
      do update set arrival = greatest(p.arrival, moment) + (excluded.arrival - moment)
    returning queue, key, arrival
  ), blocked as (
    select env as place, p.queue, p.key, q.rate_per_key,
      p.arrival - make_interval(secs => q.rate_interval * (q.rate_burst - 1)) as until
    from paced p join outlast.queue q on q.environment_id = env and q.name = p.queue
    where rate_room(moment, q.rate_interval, q.rate_burst, p.arrival) = 0
  ), whole as (
    update outlast.queue q set blocked_until = b.until
    from blocked b where q.environment_id = env and q.name = b.queue and not b.rate_per_key
  ), closed as (
    update outlast.lane l set open = false
    from blocked b
    where b.rate_per_key and l.environment_id = any (array[b.place]) and l.queue = b.queue
      and l.key = b.key
  )
  insert into outlast.timer (environment_id, due_at, kind, ref, key)
  select env, until, 'rate', queue, key from blocked
  on conflict do nothing;
end $$;

create function keep_tails(env text, picks pick[]) returns void language sql as $$
  insert into outlast.fairness_group as g (environment_id, queue, name, tail)
  select env, l.queue, l.fairness_group, max(i.place)
  from unnest(picks) i join outlast.lane l on l.id = any (array[i.lane])
  where l.fairness_group is not null group by l.queue, l.fairness_group
  on conflict (environment_id, queue, name) do update set tail = greatest(g.tail, excluded.tail)
$$;
