-- name: lock_environment
-- Numbers the versions of an environment one after the other; waits for the turn in flight.
select e.pins_versions, e.current_version_id,
  to_char(clock_timestamp() at time zone 'UTC', 'YYYYMMDD') as day,
  (extract(epoch from clock_timestamp()) * 1000)::bigint as milliseconds,
  exists (select from outlast.session s where s.environment_id = e.id and s.lost_at is null
          and s.version_id = e.current_version_id) as is_served
from outlast.environment e where e.id = :environment_id::text for no key update

-- name: find_by_digest
select id, environment_id, name, digest, runtime, sdk, created_at from outlast.version
where environment_id = :environment_id::text and digest = :digest::text

-- name: find_by_name
select id, environment_id, name, digest, runtime, sdk, created_at from outlast.version
where environment_id = :environment_id::text and name = :name::text

-- name: find_current
select v.id, v.environment_id, v.name, v.digest, v.runtime, v.sdk, v.created_at
from outlast.environment e join outlast.version v on v.id = e.current_version_id
where e.id = :environment_id::text

-- name: find_version
select id, environment_id, name, digest, runtime, sdk, created_at from outlast.version
where environment_id = :environment_id::text and id = :id::text

-- name: list_versions
select id, environment_id, name, digest, runtime, sdk, created_at from outlast.version
where environment_id = :environment_id::text and (:after::text is null or id < :after)
  and (:since::timestamptz is null or created_at >= :since) and (:until::timestamptz is null or created_at <= :until)
order by id desc limit :limit::int

-- name: insert_version
insert into outlast.version (id, environment_id, name, digest, runtime, sdk)
select :id::text, :environment_id::text,
  :day::text || '.' || (1 + coalesce(max(split_part(name, '.', 2)::int), 0)),
  :digest::text, :runtime::text, :sdk::text
from outlast.version
where environment_id = :environment_id and name like :day || '.%'
returning id, environment_id, name, digest, runtime, sdk, created_at

-- name: insert_tasks
insert into outlast.task (version_id, id, manifest)
select :version_id::text, t.id, t.manifest
from unnest(:ids::text[], :manifests::text[]) as t (id, manifest)

-- name: list_tasks
select id, manifest from outlast.task where version_id = :version_id::text order by id

-- name: make_current
update outlast.environment set current_version_id = :version_id::text
where id = :environment_id::text and current_version_id is distinct from :version_id

-- name: elect
-- Where nobody has worked on the current version for a minute, the newest that somebody works on
-- takes its place: after going back to older code, and when the newest was taken away.
update outlast.environment e set current_version_id = v.id
from (
  select environment_id, max(version_id) as id from outlast.session
  where lost_at is null group by environment_id) v
where e.id = v.environment_id and e.current_version_id <> v.id
  and not exists (
    select from outlast.session s where s.environment_id = e.id and s.version_id = e.current_version_id
      and (s.lost_at is null
           or s.lost_at > clock_timestamp() - make_interval(secs => :grace::double precision)))
  and not exists (
    select from outlast.version c where c.id = e.current_version_id
      and c.created_at > clock_timestamp() - make_interval(secs => :grace))
returning e.id

-- name: upsert_queues
-- Rows that stay as they are are not written; the rows that come back need their lanes looked at.
insert into outlast.queue (
  environment_id, name, concurrency_limit, declared_limit, total_limit, max_queued, rate_interval, rate_burst,
  rate_per_key)
select :environment_id::text, q.name, q.declared_limit, q.declared_limit, q.total_limit, q.max_queued, q.rate_interval,
  q.rate_burst, q.rate_per_key
from unnest(:names::text[], :limits::int[], :total_limits::int[], :most_queued::int[],
            :intervals::double precision[], :bursts::int[], :per_keys::boolean[])
  as q (name, declared_limit, total_limit, max_queued, rate_interval, rate_burst, rate_per_key)
order by q.name
on conflict (environment_id, name) do update
set concurrency_limit = coalesce(queue.override_limit, excluded.declared_limit),
    declared_limit = excluded.declared_limit, total_limit = excluded.total_limit, max_queued = excluded.max_queued,
    rate_interval = excluded.rate_interval, rate_burst = excluded.rate_burst, rate_per_key = excluded.rate_per_key,
    blocked_until = null
where (queue.declared_limit, queue.total_limit, queue.max_queued, queue.rate_interval, queue.rate_burst,
       queue.rate_per_key)
  is distinct from (excluded.declared_limit, excluded.total_limit, excluded.max_queued, excluded.rate_interval,
                    excluded.rate_burst, excluded.rate_per_key)
returning name

-- name: reopen_lanes
-- A changed limit: lanes that were full may not be any more. The next claim closes those that are.
update outlast.lane l set open = true, vtime = greatest(l.vtime, q.served)
from outlast.queue q
where l.environment_id = :environment_id::text and l.queue = any (:queues::text[]) and not l.open
  and q.environment_id = l.environment_id and q.name = l.queue

-- name: list_queues
select id, name, concurrency_limit, total_limit, paused, queued, running from outlast.queue
where environment_id = :environment_id::text and name <> outlast_code.cancel_queue() order by name
