-- name: load_claims
-- What a worker needs to start or go on with claimed runs. Read after the claim's commit, outside the lock.
-- Laterals with a limit keep the look-ups on their indexes: a plan made while the tables were small stays. `run` is
-- looked up by order, as `run_task_idx` would fit an equality too, and be read from end to end.
select r.id as run_id, r.task, r.queue, r.concurrency_key,
  case when s.suspect is null and s.machine is null then r.executor else 'dedicated' end as executor,
  coalesce(r.payload, b.data) as payload, r.payload_type, r.retry, r.max_duration, r.seed,
  r.parent_id, r.root_id, r.depth, r.batch_id, r.idempotency_shown, r.is_test, r.replayed_from is not null as is_replay,
  r.trace_context, r.created_at, r.delay_until, coalesce(g.tags, '{}') as tags,
  coalesce(m.value::text, r.metadata, '{}') as metadata,
  s.token, s.attempt, s.started_at, s.session_id, v.name as version,
  coalesce(s.machine, r.machine) as machine, s.active_seconds - s.earlier_seconds as spent,
  s.earlier_seconds as earlier, s.generation, s.earlier_attempts, s.cancel_at is not null as is_canceled, s.attempt_at, s.version_id, r.priority
from unnest(:runs::text[]) as c (id)
cross join lateral (
  select * from outlast.run x where (x.environment_id, x.id) >= (:environment::text, c.id)
  order by x.environment_id, x.id limit 1) r
cross join lateral (select * from outlast.run_state x where x.run_id = c.id limit 1) s
left join lateral (select name from outlast.version x where x.id = s.version_id limit 1) v on true
left join lateral (select data from outlast.blob x where x.id = r.payload_blob limit 1) b on true
left join lateral (select value from outlast.metadata x where x.run_id = c.id limit 1) m on true
left join lateral (select array_agg(tag order by tag) as tags from outlast.tag t where t.run_id = r.id) g on true
where r.id = c.id

-- name: load_entries
-- Journals of runs, in the order of creation. A number from `delivery` is how results reached the code.
select e.run_id, e.key, e.kind, e.name, e.attempt, e.outcome, coalesce(e.number, d.number) as number,
  e.position, e.arguments, e.preview, coalesce(d.abandoned, false) as abandoned, e.runs
from outlast.entry e
left join lateral (
  select number, abandoned from outlast.delivery x where x.run_id = e.run_id and x.key = e.key limit 1) d on true
where e.run_id = any (:runs::text[])
order by e.run_id, e.created_at, e.position

-- name: load_undelivered
-- Finished calls of runs whose result the code may not have heard yet.
select e.run_id, e.key, e.outcome
from outlast.entry e
left join outlast.delivery d on d.run_id = e.run_id and d.key = e.key
where e.run_id = any (:runs::text[]) and e.outcome is not null and d.key is null
  and e.kind in ('child', 'batch', 'wait', 'token', 'stream', 'peek')

-- name: load_positions
-- How far the reports of a run have got in its attempt, per scope; threads (!) are not repeated by a replay.
select s.run_id, 'metadata' as kind, p.scope, p.ordinal
from outlast.run_state s
join outlast.position p on p.run_id = s.run_id and p.attempt = s.attempt
where s.run_id = any (:runs::text[])
union all
select s.run_id, 'chunks', p.scope, p.chunks
from outlast.run_state s
join outlast.position p on p.run_id = s.run_id and p.attempt = s.attempt and p.chunks > 0 and p.scope not like '!%'
where s.run_id = any (:runs::text[])
union all
select s.run_id, 'lines', l.scope, max(l.ordinal)
from outlast.run_state s
join outlast.log l on l.run_id = s.run_id and l.attempt = s.attempt and l.scope not like '!%'
where s.run_id = any (:runs::text[])
group by s.run_id, l.scope

-- name: forget_generations
select outlast_code.forget_generations(:runs::text[])
