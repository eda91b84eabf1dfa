-- breaking: no
-- What goes beside runs: uploaded packets, environment variables.

-- A value too large for a request, uploaded under a path before the trigger that names it.
create table outlast.packet (
  environment_id text collate "C" not null,
  path text collate "C" not null check (length(path) <= 512),
  content_type text not null,
  data text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (environment_id, path)
);
create index packet_created_idx on outlast.packet (created_at);

create table outlast.variable (
  environment_id text collate "C" not null,
  name text collate "C" not null check (length(name) <= 256),
  ciphertext bytea not null,  -- AES-GCM, for this environment and name only
  is_secret boolean not null default false,  -- for ever: it is never shown again
  updated_by text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (environment_id, name)
);
