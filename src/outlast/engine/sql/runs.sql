-- name: read_runs
-- Rows of a page that was chosen by its ids; the joins cost only these.
select r.id, r.task, s.status, r.queue, r.concurrency_key, r.executor, r.machine,
  r.created_at, s.updated_at, s.started_at, e.finished_at, r.delay_until, r.ttl, r.priority,
  r.max_duration, v.name as version, s.attempt, s.generation, r.is_test, r.idempotency_key, r.idempotency_shown,
  r.idempotency_scope, r.parent_id, r.root_id, r.depth, r.trigger_function, r.batch_id,
  r.replayed_from, s.active_seconds, s.reason, coalesce(m.value::text, r.metadata) as metadata,
  array(select tag from outlast.tag t where t.run_id = r.id order by tag) as tags
from outlast.run r
join outlast.run_state s on s.run_id = r.id
left join outlast.run_end e on e.run_id = r.id
left join outlast.version v on v.id = s.version_id
left join outlast.metadata m on m.run_id = r.id
where r.environment_id = :environment_id::text and r.id = any (:ids::text[])
order by r.id desc

-- name: choose_runs
-- The beginning of every list; filters.py adds whitelisted joins and conditions, the order and the limit.
select r.id from outlast.run r

-- name: plan_lists
-- Lists walk an index in the order of the ids and look all else up, so that they stop after a page; any other join or
-- a sort would read all there is when statistics are wrong about where the wanted runs stand. Several lists may be
-- walked side by side: where few runs are in both, looking up each of one list would be far more to read.
select set_config('enable_mergejoin', case when :merges::boolean then 'on' else 'off' end, true)
union all
select set_config('max_parallel_workers_per_gather', '0', true)
union all
select set_config(name, 'off', true) from unnest(array[
  'enable_hashjoin', 'enable_material', 'enable_memoize', 'enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'jit'
]) as name

-- name: read_contents
select r.id, coalesce(r.payload, b.data) as payload, r.payload_type, e.output, e.error, r.retry,
  r.trace_context, s.token, s.session_id
from outlast.run r
join outlast.run_state s on s.run_id = r.id
left join outlast.run_end e on e.run_id = r.id
left join outlast.blob b on b.id = r.payload_blob and b.environment_id = r.environment_id
where r.environment_id = :environment_id::text and r.id = any (:ids::text[])

-- name: list_failures
-- Each attempt but the last left one event, in order; a failed last one stands in the end of the run.
select attempt, at, error from (
  select row_number() over (order by number)::int as attempt, at, kind, detail as error
  from outlast.event where run_id = :run_id::text and kind in ('attempt failed', 'restarted')) e
where kind = 'attempt failed' and error <> ''
union all
select attempt, finished_at, error from outlast.run_end where run_id = :run_id and error is not null
order by attempt, at

-- name: list_children
select id from outlast.run
where environment_id = :environment_id::text and parent_id = :parent_id::text
order by id desc limit :limit::int

-- name: find_end
select s.status in (
    'completed', 'canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired') as has_ended
from outlast.run r join outlast.run_state s on s.run_id = r.id
where r.environment_id = :environment_id::text and r.id = :id::text

-- name: list_parked
-- Runs that could not replay on another version than the current one: a waiting run has a reason only then.
select s.run_id as id from outlast.run_state s
join outlast.environment e on e.id = s.environment_id
where s.environment_id = :environment_id::text and s.status = 'waiting' and s.reason is not null
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  and s.version_id is distinct from e.current_version_id
order by s.run_id

-- name: list_entries
select e.key, e.kind, e.name, e.attempt, e.preview, e.runs, e.outcome, coalesce(d.number, e.number) as number,
  coalesce(d.abandoned, false) as is_abandoned, e.created_at, e.finished_at
from outlast.entry e
left join outlast.delivery d on d.run_id = e.run_id and d.key = e.key
where e.run_id = :run_id::text
order by e.created_at, e.position, e.key
limit :limit::int

-- name: list_events
select number, at, kind, detail from outlast.event
where run_id = :run_id::text and number > :after::bigint
order by number limit :limit::int

-- name: stand
-- Everything that can hold one run back, read for that run alone.
select s.status, s.reason, s.cancel_at, s.awaiting, r.delay_until, r.queue, r.concurrency_key, l.route,
  n.paused as environment_paused, coalesce(q.paused, false) as queue_paused, q.name is not null as has_queue,
  q.concurrency_limit, q.total_limit, coalesce(q.running, 0) as queue_running, n.concurrency_limit as base_limit,
  (select max(b.until) from (
     select q.blocked_until union all
     select p.arrival - make_interval(secs => q.rate_interval * (q.rate_burst - 1)) from outlast.pace p
     where q.rate_per_key and p.environment_id = q.environment_id and p.queue = q.name and p.key = l.key) b (until)
   where b.until > clock_timestamp()) as rate_until,
  (select coalesce(sum(x.running), 0) from outlast.lane x
   where x.environment_id = r.environment_id and x.queue = l.queue and x.key = l.key)::int as lane_running,
  floor(n.concurrency_limit * n.burst_factor)::int as environment_limit,
  (select coalesce(sum(x.running), 0) from outlast.queue x
   where x.environment_id = r.environment_id)::int as environment_running,
  (select w.name || ' on ' || w.host from outlast.session w where w.id = s.session_id) as worker,
  exists (select from outlast.session w where w.environment_id = r.environment_id and w.lost_at is null
    and split_part(l.route, '/', 1) in ('current', w.version_id)
    and (w.version_id = n.current_version_id or split_part(l.route, '/', 1) = w.version_id)) as has_worker,
  (select min(t.due_at) from outlast.timer t where t.environment_id = r.environment_id
   and t.kind = 'retry' and t.ref = r.id) as retry_at
from outlast.run r
join outlast.run_state s on s.run_id = r.id
join outlast.lane l on l.id = s.lane_id
left join outlast.queue q on q.environment_id = r.environment_id and q.name = r.queue
join outlast.environment n on n.id = r.environment_id
where r.environment_id = :environment_id::text and r.id = :id::text

-- name: count_executing
-- Limits bound how many there are; by the index of what has not ended, and by the key of their table.
select r.task, count(*)::int as count
from (
  select run_id from outlast.run_state
  where environment_id = :environment_id::text and status in ('dequeued', 'executing')
    and (status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  limit 20000) s
join outlast.run r on r.environment_id = :environment_id::text and r.id = s.run_id
group by r.task
