-- breaking: no
-- Streams: chunks that runs write for readers, and messages that are sent to runs.

create table outlast.stream (
  run_id text collate "C" not null,
  key text collate "C" not null,
  chunks bigint not null default 0,  -- the index of the next one
  bytes bigint not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (run_id, key)
) with (fillfactor = 50);

create table outlast.stream_chunk (
  run_id text collate "C" not null,
  key text collate "C" not null,
  index bigint not null,
  data text not null,
  primary key (run_id, key, index)
);

-- The highest chunk appended, per scope of the run that wrote it, beside that of its metadata operations.
alter table outlast.position add column chunks bigint not null default 0;

-- A message is stored first; the turn that takes it gives it its number, and an entry that receives it.
create table outlast.input_message (
  run_id text collate "C" not null,
  id text collate "C" not null,
  key text collate "C" not null,
  data text not null,
  number bigint,
  entry text collate "C",
  created_at timestamptz not null default clock_timestamp(),
  primary key (run_id, id)
);
create index input_message_buffer_idx on outlast.input_message (run_id, key, number)
  where number is not null and entry is null;
create index input_message_entry_idx on outlast.input_message (run_id, entry) where entry is not null;

create table outlast.input_stream (
  run_id text collate "C" not null,
  key text collate "C" not null,
  messages bigint not null default 0,
  bytes bigint not null default 0,
  primary key (run_id, key)
) with (fillfactor = 50);

alter table outlast.entry drop constraint entry_kind_check;
alter table outlast.entry add constraint entry_kind_check
  check (kind in ('step', 'child', 'batch', 'trigger', 'wait', 'hook', 'token', 'waitpoint', 'stream', 'peek'));
