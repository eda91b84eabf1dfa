-- breaking: no
-- Waitpoint tokens: what a run waits for until somebody outside completes it. Waits that are keyed across runs.

create table outlast.waitpoint (
  id text collate "C" primary key,
  environment_id text collate "C" not null,
  status text not null default 'waiting' check (status in ('waiting', 'completed', 'timed_out')),
  tags text[] not null default '{}',
  idempotency_key text collate "C",
  idempotency_expires_at timestamptz,
  request_key text collate "C",  -- the answer to the first of equal requests stands
  callback_hash bytea not null,  -- SHA-256 of the secret in its callback URL
  callback_sealed bytea not null,  -- the secret under the encryption keys, to show the URL again
  output text,
  timeout_at timestamptz not null,
  created_at timestamptz not null,
  completed_at timestamptz
) with (fillfactor = 85);
create index waitpoint_page_idx on outlast.waitpoint (environment_id, id);
create index waitpoint_key_idx on outlast.waitpoint (environment_id, idempotency_key, id)
  where idempotency_key is not null;
create unique index waitpoint_request_idx on outlast.waitpoint (environment_id, request_key)
  where request_key is not null;

-- A wait with an idempotency key ends when the first one with that key ends.
create table outlast.wait_key (
  environment_id text collate "C" not null,
  key text collate "C" not null,
  due_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (environment_id, key)
);

alter table outlast.entry drop constraint entry_kind_check;
alter table outlast.entry add constraint entry_kind_check
  check (kind in ('step', 'child', 'batch', 'trigger', 'wait', 'hook', 'token', 'waitpoint'));
