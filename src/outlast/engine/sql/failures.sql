-- name: read_failed
-- What runs failed of, read once after they did; a cancel and an expiry are nobody's mistake.
select x.environment_id, x.run_id, r.task, e.error, e.finished_at, v.name as version
from unnest(:environments::text[], :runs::text[]) as x (environment_id, run_id)
join outlast.run_end e on e.run_id = x.run_id
join outlast.run_state s on s.run_id = x.run_id
join outlast.run r on r.environment_id = x.environment_id and r.id = x.run_id
left join outlast.version v on v.id = s.version_id
where e.status in ('failed', 'crashed', 'system_failure', 'timed_out') and e.error is not null

-- name: lock_resolved
-- Whoever comes second finds them open.
select environment_id, fingerprint from outlast.error_group
where (environment_id, fingerprint) in (select * from unnest(:environments::text[], :fingerprints::text[]))
  and status = 'resolved'
order by environment_id, fingerprint for update

-- name: add_groups
-- One row per group, in the order of the key. What was resolved is open again; a late writer takes nothing back.
-- A row that nobody had written before has no `xmax`.
insert into outlast.error_group as g (
  environment_id, fingerprint, task, kind, type, message, line, count, first_at, last_at, last_run, last_version)
select * from unnest(
  :environments::text[], :fingerprints::text[], :tasks::text[], :kinds::text[], :types::text[], :messages::text[],
  :lines::text[], :counts::bigint[], :first::timestamptz[], :last::timestamptz[], :runs::text[], :versions::text[])
on conflict (environment_id, fingerprint) do update
set count = g.count + excluded.count, first_at = least(g.first_at, excluded.first_at),
  last_at = greatest(g.last_at, excluded.last_at), last_run = excluded.last_run, last_version = excluded.last_version,
  message = excluded.message, line = excluded.line,
  status = case g.status when 'ignored' then 'ignored' else 'open' end
returning environment_id, fingerprint, xmax = 0 as is_new

-- name: add_hours
insert into outlast.error_hour as h (environment_id, fingerprint, hour, count)
select * from unnest(:environments::text[], :fingerprints::text[], :hours::timestamptz[], :counts::int[])
on conflict (environment_id, fingerprint, hour) do update set count = h.count + excluded.count

-- name: add_runs
insert into outlast.error_run (environment_id, run_id, fingerprint)
select * from unnest(:environments::text[], :runs::text[], :fingerprints::text[])
on conflict do nothing

-- name: list_groups
-- The group that failed last comes first; `after` is the last one of a page.
select fingerprint, task, kind, type, message, line, status, count, first_at, last_at, last_run, last_version
from outlast.error_group
where environment_id = :environment_id::text
  and (:status::text is null or status = :status::text)
  and (:task::text is null or task = :task::text)
  and (:after::text is null or (last_at, fingerprint) < (
    select last_at, fingerprint from outlast.error_group
    where environment_id = :environment_id::text and fingerprint = :after::text))
order by last_at desc, fingerprint desc limit :limit::int

-- name: find_group
select fingerprint, task, kind, type, message, line, status, count, first_at, last_at, last_run, last_version
from outlast.error_group
where environment_id = :environment_id::text and fingerprint = :fingerprint::text

-- name: list_hours
select fingerprint, hour, count from outlast.error_hour
where environment_id = :environment_id::text and fingerprint = any (:fingerprints::text[])
  and hour >= date_trunc('hour', coalesce(:clock::timestamptz, clock_timestamp())
    - make_interval(secs => :seconds::float8), 'UTC')
order by fingerprint, hour

-- name: mark
update outlast.error_group set status = :status::text
where environment_id = :environment_id::text and fingerprint = :fingerprint::text
returning fingerprint, task, kind, type, message, line, status, count, first_at, last_at, last_run, last_version

-- name: prune_hours
delete from outlast.error_hour where (environment_id, fingerprint, hour) in (
  select environment_id, fingerprint, hour from outlast.error_hour
  where hour < clock_timestamp() - make_interval(secs => :seconds::float8) limit 5000)

-- name: prune_groups
-- Unseen for so long: nobody looks for it any more.
delete from outlast.error_group where (environment_id, fingerprint) in (
  select environment_id, fingerprint from outlast.error_group
  where last_at < clock_timestamp() - make_interval(secs => :seconds::float8) limit 1000)
