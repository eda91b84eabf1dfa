-- breaking: no
-- What runs came to, counted after they ended: by task and time, and by the error that they failed of.

-- `start`: an hour or a day in UTC. `keyless`: of the runs that nobody but an application made, those without an
-- idempotency key.
create table outlast.task_activity (
  environment_id text collate "C" not null,
  span text not null check (span in ('hour', 'day')),
  start timestamptz not null,
  task text collate "C" not null,
  completed int not null,
  failed int not null,  -- crashed, timed out, expired ones too
  canceled int not null,
  attempts int not null,
  keyless int not null,
  seconds double precision not null,  -- of work, waits left out
  primary key (environment_id, span, start, task)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index task_activity_start_idx on outlast.task_activity (span, start);

-- Failures that look alike. One that was resolved is open again when it happens again; an ignored one stays ignored.
create table outlast.error_group (
  environment_id text collate "C" not null,
  fingerprint text collate "C" not null,
  task text collate "C" not null,
  kind text not null,
  type text not null,
  message text not null,  -- of the last one
  line text not null,  -- where it was raised, as far as known
  status text not null default 'open' check (status in ('open', 'resolved', 'ignored')),
  count bigint not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  last_run text collate "C" not null,
  last_version text collate "C",
  primary key (environment_id, fingerprint)
) with (fillfactor = 70);
create index error_group_last_idx on outlast.error_group (environment_id, last_at, fingerprint);

create table outlast.error_hour (
  environment_id text collate "C" not null,
  fingerprint text collate "C" not null,
  hour timestamptz not null,
  count int not null,
  primary key (environment_id, fingerprint, hour)
) with (fillfactor = 70);
create index error_hour_idx on outlast.error_hour (hour);

-- Which runs they were: rows only of runs that failed.
create table outlast.error_run (
  run_id text collate "C" primary key,
  environment_id text collate "C" not null,
  fingerprint text collate "C" not null
);
create index error_run_group_idx on outlast.error_run (environment_id, fingerprint, run_id);

-- Lists of batches, newest first.
create index batch_environment_idx on outlast.batch (environment_id, id);

-- The replays of a run.
create index run_replayed_idx on outlast.run (environment_id, replayed_from, id) where replayed_from is not null;
