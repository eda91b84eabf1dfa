-- breaking: no
-- Retention: how long what has ended is kept, and how far the agents that delete it have got.

-- Days after a run's end; null: as long as the run. In dev all is kept for a week.
alter table outlast.environment
  add column log_days int check (log_days > 0),
  add column stream_days int check (stream_days > 0);
update outlast.environment
set retention_days = coalesce(retention_days, case slug when 'dev' then 7 else 30 end),
    log_days = 7,
    stream_days = case slug when 'dev' then 7 else 28 end;

-- One server at a time walks: it holds the row. Logs, streams and blobs are looked at once, so each walk goes on where
-- the last one got to; what it passed too early stands in `prune_later`.
create table outlast.prune_walk (
  environment_id text collate "C" not null,  -- '': of all environments
  kind text not null check (kind in ('runs', 'logs', 'streams', 'blobs')),
  position text collate "C" not null default '',
  primary key (environment_id, kind)
) with (fillfactor = 50);
create table outlast.prune_later (
  run_id text collate "C" not null,
  kind text not null,
  environment_id text collate "C" not null,
  primary key (run_id, kind)
);
create index prune_later_walk_idx on outlast.prune_later (environment_id, kind, run_id);

-- Which lanes are still needed, though nothing is queued or executing there. Most runs never touch it.
create index run_state_lane_idx on outlast.run_state (lane_id)
  where (status in ('delayed', 'pending_version', 'waiting', 'retrying')) is true;

-- Whose a large payload is.
create index run_blob_idx on outlast.run (payload_blob) where payload_blob is not null;

-- Which run made a token that it may still want to wait for.
create index entry_waitpoint_idx on outlast.entry ((substring(outcome from 'waitpoint_[0-9a-z]+')))
  where kind = 'waitpoint';
