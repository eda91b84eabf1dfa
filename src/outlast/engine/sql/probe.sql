-- name: next_due
-- Of timers and schedules: what happens next when only time passes. `timers` alone: what moves a run.
select min(d.at) as at from (
  (select due_at as at from outlast.timer where environment_id = :environment::text order by due_at limit 1)
  union all
  (select min(due_at) from outlast.schedule
   where environment_id = :environment and active and not :timers_only::boolean)
) d

-- name: executing
-- Runs that a worker executes, or is about to.
select run_id as run, token from outlast.run_state
where environment_id = :environment::text and status in ('dequeued', 'executing')
  and (status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true

-- name: finished
-- Entries that have ended while their run still waits for them: the news is on its way.
select count(*) from outlast.entry e
join unnest(:runs::text[], :keys::text[]) as o (run, key) on e.run_id = o.run and e.key = o.key
where e.outcome is not null

-- name: triggered
select r.id as run, r.task, r.payload, r.payload_blob as blob, r.tags, r.parent_id as parent
from outlast.run r where r.environment_id = :environment::text and r.task = :task::text order by r.id

-- name: blob
select data from outlast.blob where id = :blob::text

-- name: forget
-- Empties every table but the list of migrations; again where foreign keys forbid an order.
do $$
declare
  one regclass;
  left_over boolean := true;
begin
  while left_over loop
    left_over := false;
    for one in
      select oid::regclass from pg_class
      where relnamespace = 'outlast'::regnamespace and relkind = 'r' and relname <> 'migration'
    loop
      begin
        execute format('delete from %s', one);
      exception when foreign_key_violation then
        left_over := true;
      end;
    end loop;
  end loop;
end $$
