-- breaking: no
-- Runs: replays, bulk actions, hooks, machines, debounce.

-- One cancel or replay over many runs. `filter` is frozen when it is made; the runs are taken from the newest on.
create table outlast.bulk_action (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  kind text not null check (kind in ('cancel', 'replay')),
  name text,
  status text not null check (status in ('pending', 'completed', 'aborted')),
  filter text,  -- RunFilters as JSON; null: its runs were named
  position text collate "C",  -- the oldest run taken so far
  taken_all boolean not null,
  total int not null,  -- what was counted at the beginning; what was done, at the end
  success int not null default 0,
  failure int not null default 0,
  holder text,  -- the server at work on it, until lease_until
  lease_until timestamptz,
  worked_at timestamptz not null,
  created_at timestamptz not null,
  completed_at timestamptz
);
create index bulk_action_environment_idx on outlast.bulk_action (environment_id, id);
create index bulk_action_pending_idx on outlast.bulk_action (worked_at) where status = 'pending';

-- A run that a bulk action has taken. outcome null: not decided yet, or by a server that is gone.
create table outlast.bulk_run (
  bulk_id text collate "C" not null,
  run_id text collate "C" not null,
  outcome text check (outcome in ('success', 'failure')),
  result_id text collate "C",  -- the canceled run, or the one that the replay made
  error text,
  primary key (bulk_id, run_id)
);
create index bulk_run_open_idx on outlast.bulk_run (bulk_id) where outcome is null;
create index bulk_run_result_idx on outlast.bulk_run (bulk_id, result_id) where result_id is not null;

-- With the run's id, so that a list by status is read in its order. `is true`: a query takes one of these indexes only
-- if it says the same, which lists do. A turn looks runs up by id and knows their status too; planned while the table
-- was empty, it would read every queued run ever after.
drop index outlast.run_state_open_idx;
drop index outlast.run_state_failed_idx;
create index run_state_open_idx on outlast.run_state (environment_id, status, run_id)
  where (status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true;
create index run_state_ended_idx on outlast.run_state (environment_id, status, run_id)
  where (status in ('completed', 'canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired')) is true;
create index run_state_version_idx on outlast.run_state (environment_id, version_id, run_id)
  where (status in ('completed', 'canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired')) is true;
drop index outlast.run_parent_idx;
create index run_parent_idx on outlast.run (environment_id, parent_id, id) where parent_id is not null;
drop index outlast.run_batch_idx;
create index run_batch_idx on outlast.run (environment_id, batch_id, id) where batch_id is not null;

-- How long ended runs are kept. Null: for ever.
alter table outlast.environment add column retention_days int check (retention_days > 0);

-- The machine that a run needs since it lacked memory, and the active seconds of the attempts before this one.
alter table outlast.run_state add column machine text;
alter table outlast.run_state add column earlier_seconds double precision not null default 0;

-- When the present attempt began.
alter table outlast.run_state add column attempt_at timestamptz;

-- Tags of the trigger stand here too, beside those that came later: a list by tag is read in the order of the runs.
drop index outlast.run_tag_idx;
drop index outlast.tag_run_idx;
alter table outlast.tag add column environment_id text collate "C";
update outlast.tag t set environment_id = s.environment_id from outlast.run_state s where s.run_id = t.run_id;
insert into outlast.tag (run_id, tag, environment_id)
  select r.id, t.tag, r.environment_id from outlast.run r cross join unnest(r.tags) as t (tag)
  on conflict do nothing;
alter table outlast.tag alter column environment_id set not null;
create index tag_run_idx on outlast.tag (environment_id, tag, run_id);
