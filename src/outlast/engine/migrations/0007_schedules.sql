-- breaking: no
-- Schedules: each tick makes one run, whatever server finds it due.

create table outlast.schedule (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  kind text not null check (kind in ('declarative', 'imperative')),
  task text collate "C" not null check (length(task) <= 512),
  deduplication_key text collate "C" not null check (length(deduplication_key) <= 512),
  external_id text collate "C" check (length(external_id) <= 512),
  concurrency_key text collate "C" check (length(concurrency_key) <= 512),
  cron text not null,
  timezone text not null,
  time_window text,
  catchup text not null check (catchup in ('latest', 'all', 'none')),
  active boolean not null default true,
  next_at timestamptz not null,  -- the nominal time of the next tick
  due_at timestamptz not null,  -- later than that by the schedule's share of its window
  last_at timestamptz,  -- the nominal time of the last tick
  last_skip text,  -- why the last tick made no run
  held_until timestamptz,  -- a server is at work on the tick that is due; real time, for it may die
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (environment_id, kind, deduplication_key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index schedule_due_idx on outlast.schedule (due_at) where active;
create index schedule_task_idx on outlast.schedule (environment_id, task);
create index schedule_external_idx on outlast.schedule (environment_id, external_id) where external_id is not null;

-- The version whose declared schedules are in the table.
alter table outlast.environment add column scheduled_version_id text collate "C";

alter table outlast.run add column schedule_id text collate "C";
create index run_schedule_idx on outlast.run (environment_id, schedule_id, id) where schedule_id is not null;
