-- breaking: no
-- Access: who may use the platform, and how often. Secrets are stored hashed, root keys encrypted as well.

alter table outlast.api_key
  add column last_used_at timestamptz,  -- to the minute
  add constraint api_key_name_check check (length(name) <= 64);

-- The request that used a one-time token up: hearing it again is not a second use.
alter table outlast.used_token add column spender text collate "C" not null default '';

-- Requests that each key of an environment may make; null: the server's default.
alter table outlast.environment
  add column rate_per_minute int check (rate_per_minute > 0),
  add column rate_burst int check (rate_burst > 0),
  add constraint environment_rate_check check ((rate_per_minute is null) = (rate_burst is null));

-- ── people: engine/users.py ────────────────────────────────────────────────────────────────────────────────────

create table outlast.account (
  id text collate "C" primary key,
  name text collate "C" not null unique check (length(name) <= 200),
  role text not null check (role in ('viewer', 'operator', 'admin')),
  password text,  -- argon2id, with its parameters; null: only a login link opens it
  failures int not null default 0,  -- wrong passwords in a row
  failed_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
);

-- A browser that is signed in.
create table outlast.sign_in (
  hash bytea primary key,  -- SHA-256 of the cookie
  account_id text collate "C" not null references outlast.account (id) on delete cascade,
  expires_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp()
);
create index sign_in_account_idx on outlast.sign_in (account_id);
create index sign_in_expires_idx on outlast.sign_in (expires_at);

-- Opens the door once.
create table outlast.login_link (
  hash bytea primary key,
  account_id text collate "C" not null references outlast.account (id) on delete cascade,
  expires_at timestamptz not null
);
create index login_link_account_idx on outlast.login_link (account_id);

-- The audit log: what people did, whatever becomes of their accounts.
create table outlast.deed (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  account text not null,
  environment_id text collate "C",
  action text collate "C" not null,
  target text not null default '',
  outcome text not null default ''
);
create index deed_environment_idx on outlast.deed (environment_id, id);

-- `tr_pat_…`: a person's own key, over all projects, as far as the role of the account goes.
create table outlast.personal_token (
  hash bytea primary key,  -- SHA-256
  id text collate "C" not null unique,
  account_id text collate "C" not null references outlast.account (id) on delete cascade,
  name text not null default '' check (length(name) <= 64),
  created_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz,  -- to the minute
  expires_at timestamptz
);
create index personal_token_account_idx on outlast.personal_token (account_id);
