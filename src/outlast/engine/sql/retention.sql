-- name: keep
update outlast.environment
set retention_days = case when :sets_runs::boolean then :runs::int else retention_days end,
    log_days = case when :sets_logs::boolean then :logs::int else log_days end,
    stream_days = case when :sets_streams::boolean then :streams::int else stream_days end
where id = :environment::text

-- name: kept
select retention_days as runs, log_days as logs, stream_days as streams
from outlast.environment where id = :environment::text

-- name: environments
select id, retention_days as runs, log_days as logs, stream_days as streams,
  (extract(epoch from clock_timestamp()) * 1000)::bigint as now
from outlast.environment order by id

-- name: prune_runs
select last, looked, pruned, is_done from outlast_code.prune_runs(
  :environment::text, :after::text, :before::text, to_timestamp(:ended_before::float8), :portion::int, :most::int)

-- name: prune_parts
select last, looked, pruned, is_done from outlast_code.prune_parts(
  :environment::text, :kind::text, :is_late::boolean, :after::text, :before::text,
  to_timestamp(:ended_before::float8), :portion::int, :most::int)

-- name: prune_blobs
select last, looked, pruned, is_done from outlast_code.prune_blobs(:before::text, :portion::int)

-- name: erase_run
select outlast_code.erase_run(:environment::text, :run::text, :most::int)

-- name: prune_batches
-- Refused items have no run that would take them along. What a parent that has not ended made, it may still want.
with gone as (
  select b.id from outlast.batch b
  where b.environment_id = :environment::text and b.id < :before::text
    and not exists (select from outlast.batch_item i where i.batch_id = b.id and i.run_id is not null)
    and not exists (
      select from outlast.run_state p where p.run_id = b.parent_id
        and not exists (select from outlast.run_end e where e.run_id = p.run_id))
  order by b.id limit :portion::int
), items as (
  delete from outlast.batch_item i using gone g where i.batch_id = g.id
)
delete from outlast.batch b using gone g where b.id = g.id

-- name: prune_bulk_actions
with gone as (
  select id from outlast.bulk_action
  where environment_id = :environment::text and id < :before::text and status <> 'pending'
  order by id limit :portion::int
), runs as (
  delete from outlast.bulk_run r using gone g where r.bulk_id = g.id
)
delete from outlast.bulk_action b using gone g where b.id = g.id

-- name: prune_waitpoints
-- One that is waited for stays: its time-out ends it. So does what a run that has not ended has made: it may wait yet.
delete from outlast.waitpoint where id = any (array(
  select w.id from outlast.waitpoint w
  where w.environment_id = :environment::text and w.id < :before::text
    and w.completed_at < to_timestamp(:ended_before::float8)
    and not exists (
      select from outlast.entry e
      where e.kind = 'waitpoint' and substring(e.outcome from 'waitpoint_[0-9a-z]+') = w.id
        and not exists (select from outlast.run_end x where x.run_id = e.run_id))
  order by w.id limit :portion::int))

-- name: prune_wait_keys
-- Never waits for a turn that is about to use one again.
delete from outlast.wait_key where ctid = any (array(
  select ctid from outlast.wait_key
  where expires_at < coalesce(:clock::timestamptz, clock_timestamp())
  limit :portion::int for update skip locked))

-- name: prune_requests
-- A walk through the table in its own order, a portion at a time: an index on time would cost every trigger.
with looked as (
  select environment_id, key, created_at from outlast.request
  where (environment_id, key) > (:environment::text, :key::text)
  order by environment_id, key limit :portion::int
), gone as (
  delete from outlast.request r using looked l
  where r.environment_id = l.environment_id and r.key = l.key
    and l.created_at < coalesce(:clock::timestamptz, clock_timestamp()) - make_interval(
      secs => case when l.key ~ '\x1foutbox_' then :outbox_seconds::float8 else :seconds::float8 end)
)
select environment_id, key from looked order by environment_id desc, key desc limit 1

-- name: prune_keys
-- A run that was deleted has set its key free. Keys that a turn gives away right now are passed over.
with looked as (
  select environment_id, task, key from outlast.idempotency
  where (environment_id, task, key) > (:environment::text, :task::text, :key::text)
  order by environment_id, task, key limit :portion::int
), free as (
  select k.ctid as spot from outlast.idempotency k join looked l using (environment_id, task, key)
  where k.expires_at < coalesce(:clock::timestamptz, clock_timestamp())
    or not exists (select from outlast.run_state s where s.run_id = k.run_id)
  for update of k skip locked
), gone as (
  delete from outlast.idempotency k using free f where k.ctid = f.spot
)
select environment_id, task, key from looked order by environment_id desc, task desc, key desc limit 1

-- name: idle_lanes
-- Candidates, in the order of their keys; `drop_idle` decides under the lock of their environment.
select id, environment_id, queued = 0 and running = 0 as is_idle
from outlast.lane where id > :after::bigint order by id limit :portion::int

-- name: idle_paces
select environment_id, queue, key as name,
  arrival < coalesce(:clock::timestamptz, clock_timestamp()) - interval '1 minute' as is_idle
from outlast.pace
where (environment_id, queue, key) > (:environment::text, :queue::text, :name::text)
order by environment_id, queue, key limit :portion::int

-- name: idle_groups
select environment_id, queue, name, true as is_idle
from outlast.fairness_group
where (environment_id, queue, name) > (:environment::text, :queue::text, :name::text)
order by environment_id, queue, name limit :portion::int

-- name: drop_idle
select outlast_code.drop_idle(
  :environment::text, :clock::timestamptz, :lanes::bigint[], :paced::text[], :keys::text[],
  :grouped::text[], :names::text[])

-- name: milliseconds
select (extract(epoch from clock_timestamp()) * 1000)::bigint
