-- breaking: yes
-- What runs report: log lines and spans that count once, and where metadata operations have got to.
alter table outlast.log
  add column attempt int,
  add column scope text collate "C",  -- with `ordinal` the line's place in the attempt: it counts once
  add column ordinal bigint,
  add column kind text not null default 'line' check (kind in ('line', 'start', 'end')),
  add column span text collate "C",  -- the span that it begins or ends; of a line the one around it
  add column parent text collate "C",
  add column attributes text;  -- JSON object
create unique index log_position_idx on outlast.log (run_id, attempt, scope, ordinal);

-- The highest metadata operation applied, per scope of the run that made it, whichever run it changed.
create table outlast.position (
  run_id text collate "C" not null,
  attempt int not null,
  scope text collate "C" not null,
  ordinal bigint not null,
  primary key (run_id, attempt, scope)
) with (fillfactor = 50);
alter table outlast.metadata drop column positions;
