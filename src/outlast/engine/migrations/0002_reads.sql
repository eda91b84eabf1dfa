-- breaking: no
-- What reads and one-time tokens need besides the first schema.

-- A one-time public token that was used: a second use is refused until it has expired anyway.
create table outlast.used_token (
  hash bytea primary key,  -- SHA-256 of the token
  expires_at timestamptz not null
);
create index used_token_expiry_idx on outlast.used_token (expires_at);

-- Lists of runs that ended badly; rare ends, so most runs never touch it.
create index run_state_failed_idx on outlast.run_state (environment_id, status, run_id)
  where status in ('canceled', 'failed', 'crashed', 'system_failure', 'timed_out', 'expired');

-- Tags that runs got while they ran, for lists by tag; those of the trigger stand on the run.
create index tag_run_idx on outlast.tag (tag, run_id);

-- Lists by what few runs have; the others pay nothing.
create index run_queue_idx on outlast.run (environment_id, queue, id) where queue <> 'task/' || task;
create index run_test_idx on outlast.run (environment_id, id) where is_test;
create index run_machine_idx on outlast.run (environment_id, machine, id) where machine is not null;
