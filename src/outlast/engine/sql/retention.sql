-- name: keep
update outlast.environment set retention_days = :days::int where id = :environment::text

-- name: environments
select id, retention_days as days,
  (extract(epoch from clock_timestamp() - make_interval(days => retention_days)) * 1000)::bigint as before
from outlast.environment where retention_days is not null order by id

-- name: prune_runs
select last, looked, pruned from outlast_code.prune_runs(
  :environment::text, :after::text, :before::text, to_timestamp(:ended_before::float8), :portion::int)

-- name: prune_batches
-- Refused items have no run that would take them along.
with gone as (
  select b.id from outlast.batch b
  where b.environment_id = :environment::text and b.id < :before::text and b.sealed
    and not exists (select from outlast.batch_item i where i.batch_id = b.id and i.run_id is not null)
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
-- One that is waited for stays: its time-out ends it.
delete from outlast.waitpoint where id = any (array(
  select id from outlast.waitpoint
  where environment_id = :environment::text and id < :before::text and status <> 'waiting'
  order by environment_id, id limit :portion::int))

-- name: prune_wait_keys
delete from outlast.wait_key where (environment_id, key) in (
  select environment_id, key from outlast.wait_key
  where expires_at < clock_timestamp() limit :portion::int)

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
with looked as (
  select environment_id, task, key, expires_at from outlast.idempotency
  where (environment_id, task, key) > (:environment::text, :task::text, :key::text)
  order by environment_id, task, key limit :portion::int
), gone as (
  delete from outlast.idempotency k using looked l
  where k.environment_id = l.environment_id and k.task = l.task and k.key = l.key
    and l.expires_at < coalesce(:clock::timestamptz, clock_timestamp())
)
select environment_id, task, key from looked order by environment_id desc, task desc, key desc limit 1
