-- breaking: no
-- The first schema. Ids and keys are text collate "C", prefixed and time-ordered by the database's clock.
-- Hot tables have no foreign keys; what belongs to a run is deleted with it by retention.
-- Lock order: environment row, then everything else of its cycle; writers outside the cycle (journal, metadata,
-- log, tag) share no row with it and take theirs in key order.

create schema if not exists outlast;

-- ── tenancy ────────────────────────────────────────────────────────────────────────────────────────────────────

create table outlast.project (
  id text collate "C" primary key,
  ref text collate "C" not null unique,
  name text not null,
  created_at timestamptz not null default clock_timestamp()
);

-- The row that a turn locks. It is not updated by turns.
create table outlast.environment (
  id text collate "C" primary key,
  project_id text collate "C" not null references outlast.project (id),
  slug text collate "C" not null check (slug in ('dev', 'stg', 'prod', 'preview')),
  concurrency_limit int not null default 100 check (concurrency_limit >= 0),
  burst_factor double precision not null default 1.0,
  paused boolean not null default false,
  pins_versions boolean not null,  -- a started run goes on with its own version (not in dev)
  current_version_id text collate "C",
  created_at timestamptz not null default clock_timestamp(),
  unique (project_id, slug)
);

create table outlast.api_key (
  hash bytea primary key,  -- SHA-256 of the key
  id text collate "C" not null unique,
  environment_id text collate "C" not null references outlast.environment (id),
  kind text not null check (kind in ('root', 'additional')),
  name text not null default '',
  ciphertext bytea,  -- root keys: AES-GCM, needed to check self-signed tokens
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,  -- end of the grace period of a rotated key
  check ((kind = 'root') = (ciphertext is not null))
);
create index api_key_environment_idx on outlast.api_key (environment_id);

-- ── catalogue ──────────────────────────────────────────────────────────────────────────────────────────────────

create table outlast.version (
  id text collate "C" primary key,
  environment_id text collate "C" not null references outlast.environment (id),
  name text collate "C" not null,  -- 20261122.1
  digest text collate "C" not null,
  runtime text not null,
  sdk text not null,
  created_at timestamptz not null default clock_timestamp(),
  unique (environment_id, name),
  unique (environment_id, digest)
);

create table outlast.task (
  version_id text collate "C" not null references outlast.version (id),
  id text collate "C" not null,
  manifest text not null,  -- TaskManifest as JSON
  primary key (version_id, id)
);

-- Limits and pause stand here, not on lanes; the counters are sums over the queue's lanes.
create table outlast.queue (
  environment_id text collate "C" not null,
  name text collate "C" not null check (length(name) <= 200),
  concurrency_limit int check (concurrency_limit >= 0),  -- per lane
  total_limit int check (total_limit >= 0),  -- over all lanes
  paused boolean not null default false,
  queued int not null default 0,
  running int not null default 0,
  served double precision not null default 0,  -- highest virtual time served: the floor for lanes that come back
  primary key (environment_id, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

-- ── work that can be claimed ───────────────────────────────────────────────────────────────────────────────────

-- A concurrency key of a queue, once per route its runs need. `open` false: known to be at its limit.
create table outlast.lane (
  id bigint generated always as identity primary key,
  environment_id text collate "C" not null,
  queue text collate "C" not null,
  key text collate "C" not null check (length(key) <= 512),
  route text collate "C" not null,  -- <version id or current>/<executor>
  queued int not null default 0,
  running int not null default 0,
  vtime double precision not null default 0,
  open boolean not null default true,
  unique (environment_id, queue, key, route)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
create index lane_claim_idx on outlast.lane (environment_id, queue, route, vtime) where queued > 0 and open;

-- rank 0: goes on (resume, rescue), before rank 1: new work of the lane. `home` parks the coroutine.
create table outlast.ready (
  lane_id bigint not null,
  rank smallint not null,
  at timestamptz not null,
  run_id text collate "C" not null,
  fresh boolean not null,  -- the claim begins a new attempt
  home text collate "C",
  home_until timestamptz,
  primary key (lane_id, rank, at, run_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
create index ready_home_idx on outlast.ready (home) where home is not null;

-- ── runs ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- What never changes about a run: inserted once.
create table outlast.run (
  environment_id text collate "C" not null,
  id text collate "C" not null,
  task text collate "C" not null,
  queue text collate "C" not null,
  concurrency_key text collate "C",
  executor text not null,
  payload text,
  payload_type text not null,
  payload_blob text collate "C",  -- set instead of payload when it is over 8 KB
  metadata text,
  tags text[] not null default '{}',
  parent_id text collate "C",
  root_id text collate "C",
  depth int not null default 0,
  trigger_function text not null,
  batch_id text collate "C",
  idempotency_key text collate "C",
  idempotency_shown text,
  idempotency_scope text,
  delay_until timestamptz,
  ttl double precision,
  priority double precision not null default 0,
  retry text not null,  -- RetryPolicy as JSON, max_attempts already overridden
  max_duration double precision,
  machine text,
  version_pin text collate "C",
  is_test boolean not null default false,
  replayed_from text collate "C",
  trace_context text,
  seed bytea not null,
  created_at timestamptz not null,
  primary key (environment_id, id)
);
create index run_task_idx on outlast.run (environment_id, task, id);
create index run_parent_idx on outlast.run (environment_id, parent_id) where parent_id is not null;
create index run_batch_idx on outlast.run (environment_id, batch_id) where batch_id is not null;
create index run_tag_idx on outlast.run using gin (tags) where tags <> '{}';

-- What a run does now. `token` is raised by every claim, resume, rescue and end: who holds an older one is late.
create table outlast.run_state (
  run_id text collate "C" primary key,
  environment_id text collate "C" not null,
  status text not null check (status in (
    'delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying',
    'completed', 'canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired')),
  attempt int not null default 0,
  token bigint not null default 0,
  lane_id bigint not null,
  session_id text collate "C",  -- where it executes; while waiting: its home
  version_id text collate "C",
  ready_rank smallint,
  ready_at timestamptz,
  awaiting text[],  -- entry keys that a suspended run waits for
  watched boolean not null default false,  -- somebody waits for its end
  rescues int not null default 0,  -- since its last new entry
  suspect text collate "C",  -- the crash that it may be guilty of: it runs alone
  cancel_at timestamptz,
  reason text,  -- why it stands still, when that is not plain
  started_at timestamptz,
  entered_at timestamptz,  -- begin of the present slice of work
  active_seconds double precision not null default 0,
  updated_at timestamptz not null
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, vacuum_truncate = off);
create index run_state_session_idx on outlast.run_state (session_id) where session_id is not null;
create index run_state_suspect_idx on outlast.run_state (suspect) where suspect is not null;
create index run_state_open_idx on outlast.run_state (environment_id, status)
  where status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying');

create table outlast.run_end (
  run_id text collate "C" primary key,
  status text not null,
  output text,
  error text,  -- RunError as JSON
  attempt int not null,
  finished_at timestamptz not null
);

create table outlast.blob (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  data text not null,
  created_at timestamptz not null default clock_timestamp()
);

create table outlast.idempotency (
  environment_id text collate "C" not null,
  task text collate "C" not null,
  key text collate "C" not null,
  run_id text collate "C" not null,
  expires_at timestamptz not null,
  primary key (environment_id, task, key)
);

-- Makes a repeated request safe: the answer to the first one stands.
create table outlast.request (
  environment_id text collate "C" not null,
  key text collate "C" not null,
  run_id text collate "C" not null,
  created_at timestamptz not null,
  primary key (environment_id, key)
);

-- ── journal ────────────────────────────────────────────────────────────────────────────────────────────────────

-- outcome null: open. Local entries (steps, hooks) are inserted finished, outside the cycle; calls belong to the cycle.
create table outlast.entry (
  run_id text collate "C" not null,
  key text collate "C" not null check (length(key) <= 400),
  kind text not null check (kind in ('step', 'child', 'batch', 'trigger', 'wait', 'hook')),
  name text not null,
  attempt int not null,
  position bigint not null default 0,  -- order of the calls in their scope
  arguments text not null default '',
  preview text not null default '',
  runs text,  -- the created runs, list[Triggered] as JSON
  outcome text,  -- Outcome as JSON
  number int,  -- order of delivery, for entries that know it when written
  created_at timestamptz not null,
  finished_at timestamptz,
  primary key (run_id, key)
) with (fillfactor = 85);

-- In which order results reached the code, and which entries it gave up waiting for.
create table outlast.delivery (
  run_id text collate "C" not null,
  key text collate "C" not null,
  number int,
  abandoned boolean not null default false,
  primary key (run_id, key)
);

-- `target` (a run or batch) ends: the entry is finished.
create table outlast.waiter (
  target text collate "C" not null,
  run_id text collate "C" not null,
  key text collate "C" not null,
  primary key (target, run_id, key)
);

create table outlast.batch (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  size int not null,
  ended int not null default 0,
  sealed boolean not null default false,
  idempotency_key text collate "C",
  parent_id text collate "C",
  errors text,  -- JSON list of items that could not be triggered
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create unique index batch_idempotency_idx on outlast.batch (environment_id, idempotency_key)
  where idempotency_key is not null;

create table outlast.batch_item (
  batch_id text collate "C" not null,
  index int not null,
  run_id text collate "C",
  task text not null,
  error text,  -- Refusal as JSON
  primary key (batch_id, index)
);
create index batch_item_run_idx on outlast.batch_item (run_id) where run_id is not null;

-- ── time, workers, servers ─────────────────────────────────────────────────────────────────────────────────────

-- Every "at that time": delay, ttl, retry, wait, timeout, cancel, park.
create table outlast.timer (
  environment_id text collate "C" not null,
  due_at timestamptz not null,
  kind text not null,
  ref text collate "C" not null,
  key text collate "C" not null default '',
  primary key (environment_id, due_at, kind, ref, key)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

create index timer_due_idx on outlast.timer (due_at, environment_id);

-- A worker. It outlives its socket; silence ends it. closed_at: the socket closed without goodbye.
create table outlast.session (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  version_id text collate "C" not null,
  server_id text collate "C",
  name text not null,
  host text not null,
  pid int not null,
  free text not null default '{}',
  heartbeat_at timestamptz not null,
  closed_at timestamptz,
  lost_at timestamptz,  -- declared dead; its frames are refused
  created_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
create index session_live_idx on outlast.session (environment_id) where lost_at is null;

-- What a worker that is connected to another server must hear; delivered by that server, then deleted.
create table outlast.mail (
  session_id text collate "C" not null,
  number bigint generated always as identity,
  kind text not null,
  run_id text collate "C" not null,
  token bigint not null,
  data text,
  primary key (session_id, number)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

-- ── what a run reports: never part of its control flow, never touched by the cycle ─────────────────────────────

create table outlast.metadata (
  run_id text collate "C" primary key,
  value jsonb not null,
  positions jsonb not null default '{}',  -- scope -> highest ordinal applied: an operation counts once
  updated_at timestamptz not null
) with (fillfactor = 50);

create table outlast.tag (
  run_id text collate "C" not null,
  tag text collate "C" not null check (length(tag) <= 128),
  primary key (run_id, tag)
);

create table outlast.log (
  run_id text collate "C" not null,
  number bigint generated always as identity,
  at timestamptz not null,
  level text not null,
  message text not null,
  primary key (run_id, number)
);

-- Rescues, version moves and the like, for the run's timeline.
create table outlast.event (
  run_id text collate "C" not null,
  number bigint generated always as identity,
  at timestamptz not null,
  kind text not null,
  detail text not null default '',
  primary key (run_id, number)
);
