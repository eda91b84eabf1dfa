-- breaking: no
-- Alerts: who is told of what happens in an environment, and what has yet to be told.

create table outlast.alert (
  id text collate "C" primary key,
  environment_id text collate "C" not null references outlast.environment (id) on delete cascade,
  name text not null,
  channel text not null check (channel in ('webhook', 'slack', 'email')),
  address_sealed bytea not null,
  secret_sealed bytea,  -- what webhooks are signed under
  shown_address text not null,
  types text[] not null,
  enabled boolean not null default true,
  last_error text,  -- why nothing arrived the last time; null once something did
  delivered_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  created_by text
);
create index alert_environment_idx on outlast.alert (environment_id, id);

-- No reference to the alert: a turn must neither wait for who deletes it nor fail because of that.
create table outlast.alert_due (
  id bigint generated always as identity primary key,
  alert_id text collate "C" not null,
  environment_id text collate "C" not null,
  type text not null,
  subject text collate "C" not null,  -- a run, an error's fingerprint, a version
  detail text not null default '',
  occurred_at timestamptz not null,
  due_at timestamptz not null,
  attempts int not null default 0,
  folded int  -- how many occurrences are told as this one; null: it alone
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index alert_due_idx on outlast.alert_due (alert_id, due_at);
create unique index alert_due_folded_idx on outlast.alert_due (alert_id, type) where folded is not null;
