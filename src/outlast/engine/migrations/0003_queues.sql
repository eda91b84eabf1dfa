-- breaking: no
-- Queues: pause, overrides, rates, groups of lanes, statistics; debounced and parked runs.

-- `concurrency_limit` is what counts: the override where there is one, else what code declares.
alter table outlast.queue
  add column id text collate "C" not null
    generated always as ('queue_' || left(md5(environment_id || '/' || name), 25)) stored,
  add column declared_limit int check (declared_limit >= 0),
  add column override_limit int check (override_limit >= 0),
  add column overridden_at timestamptz,
  add column overridden_by text,
  add column max_queued int check (max_queued >= 0),
  add column rate_interval double precision check (rate_interval > 0),  -- seconds between two starts; null: no rate
  add column rate_burst int not null default 1 check (rate_burst > 0),
  add column rate_per_key boolean not null default true,
  add column blocked_until timestamptz;  -- the rate of the whole queue lets nothing start before
update outlast.queue set declared_limit = concurrency_limit;
create unique index queue_id_idx on outlast.queue (environment_id, id);

-- How many runs one queue may hold when it does not say so itself.
alter table outlast.environment add column max_queued int not null default 1000000 check (max_queued >= 0);

-- GCRA: the theoretical arrival time of the next start, of a key or (key '') of a whole queue.
create table outlast.pace (
  environment_id text collate "C" not null,
  queue text collate "C" not null,
  key text collate "C" not null,
  arrival timestamptz not null,
  primary key (environment_id, queue, key)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Lanes of one group share one share. `tail`: the last place in virtual time that one of them was given.
alter table outlast.lane add column fairness_group text collate "C" check (length(fairness_group) <= 512);
create table outlast.fairness_group (
  environment_id text collate "C" not null,
  queue text collate "C" not null,
  name text collate "C" not null,
  tail double precision not null,
  primary key (environment_id, queue, name)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The delayed run that further triggers with this key push back.
create table outlast.debounce (
  environment_id text collate "C" not null,
  task text collate "C" not null,
  key text collate "C" not null check (length(key) <= 512),
  run_id text collate "C" not null,
  primary key (environment_id, task, key)
);
create index debounce_run_idx on outlast.debounce (run_id);

-- What servers count of a queue in memory, added up here every few seconds: waits before a start by size, and
-- the highest depths seen.
create table outlast.queue_minute (
  environment_id text collate "C" not null,
  queue text collate "C" not null,
  minute timestamptz not null,
  queued int not null,
  running int not null,
  started int not null,
  waits int[] not null,
  primary key (environment_id, queue, minute)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index queue_minute_idx on outlast.queue_minute (minute);
