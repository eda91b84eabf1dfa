-- name: lock
-- Changes wait for the turn in flight, and lock rows in its order behind it.
select id from outlast.environment where id = :environment_id::text for no key update

-- name: count_queues
select count(*) from outlast.queue where environment_id = :environment_id::text and name <> outlast_code.cancel_queue()

-- name: list_page
select q.id, q.name, q.queued, q.running, q.paused, q.declared_limit, q.override_limit,
  case when q.concurrency_limit is not null then least(q.concurrency_limit, e.concurrency_limit) end as concurrency_limit,
  q.overridden_at, q.overridden_by, q.total_limit, q.max_queued, q.rate_interval, q.rate_burst, q.rate_per_key
from outlast.queue q join outlast.environment e on e.id = q.environment_id
where q.environment_id = :environment_id::text and q.name <> outlast_code.cancel_queue()
order by q.name limit :limit::int offset :offset::int

-- name: find
select q.id, q.name, q.queued, q.running, q.paused, q.declared_limit, q.override_limit,
  case when q.concurrency_limit is not null then least(q.concurrency_limit, e.concurrency_limit) end as concurrency_limit,
  q.overridden_at, q.overridden_by, q.total_limit, q.max_queued, q.rate_interval, q.rate_burst, q.rate_per_key
from outlast.queue q join outlast.environment e on e.id = q.environment_id
where q.environment_id = :environment_id::text and q.name = :name::text and q.name <> outlast_code.cancel_queue()

-- name: find_by_id
select q.id, q.name, q.queued, q.running, q.paused, q.declared_limit, q.override_limit,
  case when q.concurrency_limit is not null then least(q.concurrency_limit, e.concurrency_limit) end as concurrency_limit,
  q.overridden_at, q.overridden_by, q.total_limit, q.max_queued, q.rate_interval, q.rate_burst, q.rate_per_key
from outlast.queue q join outlast.environment e on e.id = q.environment_id
where q.environment_id = :environment_id::text and q.id = :id::text and q.name <> outlast_code.cancel_queue()

-- name: pause
update outlast.queue set paused = :paused::boolean
where environment_id = :environment_id::text and name = :name::text

-- name: override
-- As it was asked for: an environment's limit, which may change, counts where slots are given.
update outlast.queue
set override_limit = :limit::int, concurrency_limit = :limit,
    overridden_at = clock_timestamp(), overridden_by = :overridden_by::text
where environment_id = :environment_id::text and name = :name::text

-- name: reset
update outlast.queue
set override_limit = null, concurrency_limit = declared_limit, overridden_at = null, overridden_by = null
where environment_id = :environment_id::text and name = :name::text

-- name: find_depth
select q.queued, coalesce(q.max_queued, e.max_queued) as most
from outlast.queue q join outlast.environment e on e.id = q.environment_id
where q.environment_id = :environment_id::text and q.name = :name::text

-- name: list_parked
select s.run_id as id, r.task, r.queue, r.retry, r.ttl, r.max_duration, r.machine
from outlast.run_state s
cross join lateral (
  select * from outlast.run x where x.environment_id = s.environment_id and x.id = s.run_id limit 1) r
where s.environment_id = :environment_id::text and s.status = 'pending_version' and s.run_id > :after::text
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
order by s.run_id limit :limit::int

-- name: oldest
-- When the run was queued that waits longest: the heads of lanes that are served next, and of the first by key. Lanes
-- are in the order of their serving within a route only.
with recursive routes as (
  (select route from outlast.lane
   where environment_id = :environment_id::text and queue = :name::text and queued > 0 and open
   order by route limit 1)
  union all
  select (
    select l.route from outlast.lane l
    where l.environment_id = :environment_id and l.queue = :name and l.queued > 0 and l.open and l.route > r.route
    order by l.route limit 1)
  from routes r where r.route is not null
)
select min(h.at + make_interval(secs => r.priority)) as since, clock_timestamp() as moment
from (
  select next.id from routes
  cross join lateral (
    select l.id from outlast.lane l
    where l.environment_id = :environment_id and l.queue = :name and l.route = routes.route and l.queued > 0 and l.open
    order by l.vtime limit 200) next
  union
  (select l.id from (
     select id, queued from outlast.lane
     where environment_id = :environment_id and queue = :name order by key limit 1000) l
   where l.queued > 0)
) l
cross join lateral (
  select at, run_id from outlast.ready where lane_id = l.id order by rank, at, run_id limit 1) h
join lateral (  -- by order, as in claims.sql
  select id, priority from outlast.run where (environment_id, id) >= (:environment_id, h.run_id)
  order by environment_id, id limit 1) r on r.id = h.run_id

-- name: list_keys
-- A page of the keys of a queue that have runs, with the head of each.
select k.key, k.queued, k.running, k.fairness_group, h.since, clock_timestamp() as moment
from (
  select l.key, sum(l.queued)::int as queued, sum(l.running)::int as running,
    max(l.fairness_group) as fairness_group, array_agg(l.id) as lanes
  from outlast.lane l
  where l.environment_id = :environment_id::text and l.queue = :name::text and (:after::text is null or l.key > :after)
    and (l.queued > 0 or l.running > 0)
  group by l.key order by l.key limit :limit::int) k
left join lateral (
  select min(f.at) as since from unnest(k.lanes) as i (id)
  cross join lateral (
    select at from outlast.ready where lane_id = i.id order by rank, at, run_id limit 1) f) h on true
order by k.key

-- name: add_minutes
-- What this server counted since the last time. Only sums and highest values: servers add up in any order.
insert into outlast.queue_minute as m (environment_id, queue, minute, queued, running, started, waits)
select c.environment_id, c.queue, c.minute, c.queued, c.running, c.started,
  (select array_agg(w::int) from unnest(string_to_array(c.waits, ',')) w)
from unnest(:environments::text[], :queues::text[], :minutes::timestamptz[], :queued::int[], :running::int[],
            :started::int[], :waits::text[])
  as c (environment_id, queue, minute, queued, running, started, waits)
order by 1, 2, 3
on conflict (environment_id, queue, minute) do update
set queued = greatest(m.queued, excluded.queued), running = greatest(m.running, excluded.running),
    started = m.started + excluded.started,
    waits = (select array_agg(a + b order by n)
             from unnest(m.waits, excluded.waits) with ordinality as t (a, b, n))

-- name: sample
-- Depths of the queues that have work, for the present minute.
select environment_id, name as queue, queued, running,
  date_trunc('minute', coalesce(:clock::timestamptz, clock_timestamp())) as minute
from outlast.queue
where environment_id = any (:environments::text[]) and (queued > 0 or running > 0)

-- name: list_minutes
select minute, queued, running, started, waits from outlast.queue_minute
where environment_id = :environment_id::text and queue = :name::text
  and minute > coalesce(:clock::timestamptz, clock_timestamp()) - make_interval(secs => :seconds::double precision)
order by minute

-- name: prune_minutes
delete from outlast.queue_minute where ctid = any (array(
  select ctid from outlast.queue_minute
  where minute < clock_timestamp() - make_interval(secs => :seconds::double precision) limit 10000))

-- name: reset_key
delete from outlast.idempotency
where environment_id = :environment_id::text and task = :task::text and key = :key::text
returning run_id

-- name: reset_key_of_run
-- The key that a run holds still, for who does not know its hash.
delete from outlast.idempotency i using outlast.run r
where r.environment_id = :environment_id::text and r.id = :run::text
  and i.environment_id = r.environment_id and i.task = r.task and i.key = r.idempotency_key and i.run_id = r.id
returning i.run_id

-- name: environment
select id, concurrency_limit, burst_factor, paused,
  (select coalesce(sum(q.running), 0) from outlast.queue q where q.environment_id = e.id)::int as running,
  (select coalesce(sum(q.queued), 0) from outlast.queue q where q.environment_id = e.id)::int as queued,
  retention_days, log_days, stream_days
from outlast.environment e where id = :environment_id::text
