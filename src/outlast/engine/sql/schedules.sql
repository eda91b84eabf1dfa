-- name: save
-- The same key is the same schedule: it is changed, not doubled.
insert into outlast.schedule (
  id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, next_at, due_at)
values (:id::text, :environment::text, 'imperative', :task::text, :key::text, :external_id::text, :concurrency_key::text, :cron::text,
  :timezone::text, :window::text, :catchup::text, :next_at::timestamptz, :due_at::timestamptz)
on conflict (environment_id, kind, deduplication_key) do update
set task = excluded.task, external_id = excluded.external_id,
  concurrency_key = excluded.concurrency_key, cron = excluded.cron, timezone = excluded.timezone,
  time_window = excluded.time_window, catchup = excluded.catchup, next_at = excluded.next_at,
  due_at = excluded.due_at, updated_at = clock_timestamp()
returning id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, active,
  next_at, due_at, last_at, last_skip, created_at, updated_at

-- name: change
update outlast.schedule
set task = :task::text, external_id = :external_id::text, concurrency_key = :concurrency_key::text, cron = :cron::text, timezone = :timezone::text,
  time_window = :window::text, catchup = :catchup::text, next_at = :next_at::timestamptz,
  due_at = :due_at::timestamptz, updated_at = clock_timestamp()
where environment_id = :environment::text and id = :id::text and kind = 'imperative'
returning id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, active,
  next_at, due_at, last_at, last_skip, created_at, updated_at

-- name: switch
-- One that comes back looks forward: what it missed while it was off is not made up for.
update outlast.schedule
set active = :active::boolean, updated_at = clock_timestamp(),
  next_at = case when active then next_at else :next_at::timestamptz end,
  due_at = case when active then due_at else :due_at::timestamptz end
where environment_id = :environment::text and id = :id::text and kind = 'imperative'
returning id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, active,
  next_at, due_at, last_at, last_skip, created_at, updated_at

-- name: delete
delete from outlast.schedule
where environment_id = :environment::text and id = :id::text and kind = 'imperative'
returning id

-- name: retrieve
select id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, active,
  next_at, due_at, last_at, last_skip, created_at, updated_at from outlast.schedule where environment_id = :environment::text and id = :id::text

-- name: page
select id, environment_id, kind, task, deduplication_key, external_id, concurrency_key, cron, timezone, time_window, catchup, active,
  next_at, due_at, last_at, last_skip, created_at, updated_at from outlast.schedule
where environment_id = :environment::text
  and (:task::text is null or task = :task)
  and (:external_id::text is null or external_id = :external_id)
  and (:key::text is null or deduplication_key = :key)
order by id limit :limit::int offset :offset::int

-- name: count
select count(*)::int from outlast.schedule
where environment_id = :environment::text
  and (:task::text is null or task = :task)
  and (:external_id::text is null or external_id = :external_id)
  and (:key::text is null or deduplication_key = :key)

-- name: now
select coalesce(:clock::timestamptz, clock_timestamp()) as moment

-- name: find_unsynced
-- Environments whose current version has declared its schedules, but they are not in the table yet.
select e.id, e.slug, e.current_version_id as version_id from outlast.environment e
where e.current_version_id is not null and e.current_version_id is distinct from e.scheduled_version_id
limit 100

-- name: declare
-- One whose times stay the same keeps its next tick: a deployment neither skips nor repeats one.
insert into outlast.schedule (
  id, environment_id, kind, task, deduplication_key, cron, timezone, time_window, catchup, next_at, due_at)
select s.id, :environment::text, 'declarative', s.task, s.task, s.cron, s.timezone, s.time_window, s.catchup,
  s.next_at, s.due_at
from json_to_recordset(:schedules::json) as s (
  id text, task text, cron text, timezone text, time_window text, catchup text, next_at timestamptz,
  due_at timestamptz)
order by s.task
on conflict (environment_id, kind, deduplication_key) do update
set cron = excluded.cron, timezone = excluded.timezone, time_window = excluded.time_window,
  catchup = excluded.catchup, updated_at = clock_timestamp(),
  next_at = case when (schedule.cron, schedule.timezone) = (excluded.cron, excluded.timezone)
    then schedule.next_at else excluded.next_at end,
  due_at = case when (schedule.cron, schedule.timezone) = (excluded.cron, excluded.timezone)
    then schedule.due_at else excluded.due_at end
where (schedule.cron, schedule.timezone, schedule.time_window) is distinct from
  (excluded.cron, excluded.timezone, excluded.time_window) or schedule.catchup <> excluded.catchup

-- name: withdraw
delete from outlast.schedule
where environment_id = :environment::text and kind = 'declarative' and task <> all (:tasks::text[])

-- name: mark_synced
update outlast.environment set scheduled_version_id = :version::text
where id = :environment::text and current_version_id = :version

-- name: take_due
-- A portion of each environment, so that none waits behind another's thousands. For a while they are this server's; if
-- it dies, another one finds the runs that it has made by their keys.
update outlast.schedule s set held_until = clock_timestamp() + make_interval(secs => :seconds::double precision)
from (
  select environment_id from outlast.schedule
  where active and due_at <= coalesce(:clock::timestamptz, clock_timestamp())
    and (held_until is null or held_until < clock_timestamp())
  group by environment_id order by min(due_at), random() limit :tenants::int) e
cross join lateral (
  select id from outlast.schedule o
  where o.environment_id = e.environment_id and active and due_at <= coalesce(:clock::timestamptz, clock_timestamp())
    and (held_until is null or held_until < clock_timestamp())
  order by due_at limit :limit::int for update skip locked) d
where s.id = d.id
returning s.id, s.environment_id, s.kind, s.task, s.deduplication_key, s.external_id, s.concurrency_key, s.cron, s.timezone, s.time_window, s.catchup, s.active,
  s.next_at, s.due_at, s.last_at, s.last_skip, s.created_at, s.updated_at

-- name: advance
-- Whoever comes second finds another next tick and changes nothing.
update outlast.schedule s
set last_at = coalesce(d.last_at, s.last_at), last_skip = d.last_skip, next_at = d.next_at, due_at = d.due_at,
  held_until = null
from json_to_recordset(:ticks::json) as d (
  id text, nominal timestamptz, last_at timestamptz, last_skip text, next_at timestamptz, due_at timestamptz)
where s.id = d.id and s.next_at = d.nominal

-- name: has_worker
select exists (select from outlast.session where environment_id = :environment::text and lost_at is null) as is_served
