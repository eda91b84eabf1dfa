-- name: environments
select id from outlast.environment

-- name: lock
select id from outlast.environment where id = :environment::text for update

-- name: lane_counters
-- Counters are derived data: what differs from the rows is put right, and said.
with truth as (
  select l.id,
    (select count(*) from outlast.ready r where r.lane_id = l.id)::int as queued,
    (select count(*) from outlast.run_state s
     where s.environment_id = :environment::text and s.lane_id = l.id and s.status in ('dequeued', 'executing'))::int
      as running
  from outlast.lane l where l.environment_id = :environment::text
)
update outlast.lane l set queued = t.queued, running = t.running, open = true
from truth t
where l.id = t.id and (l.queued <> t.queued or l.running <> t.running)
returning 'lane counter' as finding, l.queue || '/' || l.key as subject

-- name: queue_counters
with truth as (
  select q.name, coalesce(sum(l.queued), 0)::int as queued, coalesce(sum(l.running), 0)::int as running
  from outlast.queue q left join outlast.lane l on l.environment_id = q.environment_id and l.queue = q.name
  where q.environment_id = :environment::text group by q.name
)
update outlast.queue q set queued = t.queued, running = t.running
from truth t
where q.environment_id = :environment::text and q.name = t.name and (q.queued <> t.queued or q.running <> t.running)
returning 'queue counter' as finding, q.name as subject

-- name: executing_nowhere
select 'executing without a session' as finding, s.run_id as subject
from outlast.run_state s
where s.environment_id = :environment::text and s.status in ('dequeued', 'executing')
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  and not exists (select from outlast.session x where x.id = s.session_id)

-- name: queued_nowhere
-- A queued run stands in `ready`; nothing else would ever claim it.
select 'queued without a ready row' as finding, s.run_id as subject
from outlast.run_state s
where s.environment_id = :environment::text and s.status = 'queued'
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  and not exists (select from outlast.ready r where r.lane_id = s.lane_id and r.run_id = s.run_id
                  and r.rank = s.ready_rank and r.at = s.ready_at)

-- name: untimed
select 'delayed or retrying without a timer' as finding, s.run_id as subject
from outlast.run_state s
where s.environment_id = :environment::text and s.status in ('delayed', 'retrying')
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  and not exists (select from outlast.timer t where t.environment_id = s.environment_id and t.ref = s.run_id
                  and t.kind in ('delay', 'retry'))

-- name: waiting_for_nothing
-- A waiting run has an open entry it waits for, or says why it stands still.
select 'waiting for nothing' as finding, s.run_id as subject
from outlast.run_state s
where s.environment_id = :environment::text and s.status = 'waiting' and s.reason is null
  and (s.status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true
  and not exists (select from outlast.entry e
                  where e.run_id = s.run_id and e.key = any (s.awaiting) and e.outcome is null)

-- name: orphans
select 'ready row of a run that is not queued' as finding, r.run_id as subject
from outlast.lane l join outlast.ready r on r.lane_id = l.id
left join outlast.run_state s on s.run_id = r.run_id
where l.environment_id = :environment::text and s.status is distinct from 'queued'

-- name: ends
select 'ended without an end' as finding, s.run_id as subject
from outlast.run_state s
where s.environment_id = :environment::text and s.updated_at > clock_timestamp() - interval '1 hour'
  and s.status in ('completed', 'canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired')
  and not exists (select from outlast.run_end e where e.run_id = s.run_id)
