-- name: add_ended
-- By the keys of their tables: what has ended since the last time. In the order of the key, as servers do it at once.
with ended as materialized (
  select r.environment_id, r.task, e.status, e.finished_at, e.attempt, s.active_seconds,
    r.idempotency_key is null and r.parent_id is null and r.schedule_id is null as is_keyless
  from unnest(:environments::text[], :runs::text[]) as x (environment_id, run_id)
  join outlast.run_end e on e.run_id = x.run_id
  join outlast.run_state s on s.run_id = x.run_id
  join outlast.run r on r.environment_id = x.environment_id and r.id = x.run_id
)
insert into outlast.task_activity as a (
  environment_id, span, start, task, completed, failed, canceled, attempts, keyless, seconds)
select environment_id, span, date_trunc(span, finished_at, 'UTC') as start, task,
  count(*) filter (where status = 'completed'), count(*) filter (where status not in ('completed', 'canceled')),
  count(*) filter (where status = 'canceled'), sum(attempt), count(*) filter (where is_keyless), sum(active_seconds)
from ended cross join (values ('hour'), ('day')) as spans (span)
group by environment_id, span, start, task
order by environment_id, span, start, task
on conflict (environment_id, span, start, task) do update
set completed = a.completed + excluded.completed, failed = a.failed + excluded.failed,
  canceled = a.canceled + excluded.canceled, attempts = a.attempts + excluded.attempts,
  keyless = a.keyless + excluded.keyless, seconds = a.seconds + excluded.seconds

-- name: of_tasks
-- Everything that a span saw since then; of one task, if one is named.
select start, task, completed, failed, canceled, attempts, keyless, seconds from outlast.task_activity
where environment_id = :environment_id::text and span = :span::text
  and start >= date_trunc(:span::text, coalesce(:clock::timestamptz, clock_timestamp())
    - make_interval(secs => :seconds::float8), 'UTC')
  and (:task::text is null or task = :task::text)
order by start, task

-- name: by_week
-- Weeks begin on Monday, in UTC.
select date_trunc('week', start, 'UTC') as start, task, sum(completed)::int as completed, sum(failed)::int as failed,
  sum(canceled)::int as canceled, sum(attempts)::int as attempts, sum(keyless)::int as keyless, sum(seconds) as seconds
from outlast.task_activity
where environment_id = :environment_id::text and span = 'day'
  and start >= date_trunc('week', coalesce(:clock::timestamptz, clock_timestamp()), 'UTC')
    - make_interval(weeks => :weeks::int - 1)
group by 1, task
order by 1, task

-- name: prune
delete from outlast.task_activity where (environment_id, span, start, task) in (
  select environment_id, span, start, task from outlast.task_activity
  where span = :span::text and start < clock_timestamp() - make_interval(secs => :seconds::float8)
  limit 5000)
