-- name: milliseconds
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- name: insert_project
insert into outlast.project (id, ref, name) values (:id::text, :ref::text, :name::text)
on conflict (ref) do nothing
returning id, ref, name, created_at

-- name: insert_environment
insert into outlast.environment (
  id, project_id, slug, concurrency_limit, pins_versions, retention_days, log_days, stream_days)
values (
  :id::text, :project_id::text, :slug::text, :concurrency_limit::int, :pins_versions::boolean,
  :run_days::int, :log_days::int, :stream_days::int)

-- name: list_projects
select id, ref, name, created_at from outlast.project order by id

-- name: find_project
select id, ref, name, created_at from outlast.project where ref = :ref::text

-- name: list_environments
select e.id, e.slug, e.project_id, p.ref as project_ref, p.name as project_name,
  e.concurrency_limit, e.burst_factor, e.paused, e.pins_versions, e.current_version_id, e.created_at,
  e.rate_per_minute, e.rate_burst, e.variables_revision
from outlast.environment e join outlast.project p on p.id = e.project_id
where p.ref = :project_ref::text
order by e.id

-- name: list_all_environments
select e.id, e.slug, e.project_id, p.ref as project_ref, p.name as project_name,
  e.concurrency_limit, e.burst_factor, e.paused, e.pins_versions, e.current_version_id, e.created_at,
  e.rate_per_minute, e.rate_burst, e.variables_revision
from outlast.environment e join outlast.project p on p.id = e.project_id
order by e.id

-- name: find_environment
select e.id, e.slug, e.project_id, p.ref as project_ref, p.name as project_name,
  e.concurrency_limit, e.burst_factor, e.paused, e.pins_versions, e.current_version_id, e.created_at,
  e.rate_per_minute, e.rate_burst, e.variables_revision
from outlast.environment e join outlast.project p on p.id = e.project_id
where e.id = :id::text

-- name: find_environment_of_key
-- A rotated key opens its environment until its grace period ends. When a key was used is noted once a minute.
with used as (
  update outlast.api_key set last_used_at = clock_timestamp()
  where hash = :hash::bytea
    and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')
)
select e.id, e.slug, e.project_id, p.ref as project_ref, p.name as project_name,
  e.concurrency_limit, e.burst_factor, e.paused, e.pins_versions, e.current_version_id, e.created_at,
  e.rate_per_minute, e.rate_burst, e.variables_revision,
  k.hash as key_hash, k.kind as key_kind, k.id as key_id
from outlast.api_key k
join outlast.environment e on e.id = k.environment_id
join outlast.project p on p.id = e.project_id
where k.hash = :hash::bytea and (k.expires_at is null or k.expires_at > clock_timestamp())

-- name: change_environment
-- Waits for the turn in flight, which holds the row.
update outlast.environment
set concurrency_limit = coalesce(:concurrency_limit::int, concurrency_limit),
    burst_factor = coalesce(:burst_factor::double precision, burst_factor),
    paused = coalesce(:paused::boolean, paused)
where id = :id::text

-- name: limit_rate
with limited as (
  update outlast.environment
  set rate_per_minute = :per_minute::int, rate_burst = :burst::int
  where id = :id::text
  returning id
)
select pg_notify('outlast', '- keys:' || id)::text as told from limited
