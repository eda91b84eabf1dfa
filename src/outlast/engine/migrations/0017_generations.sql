-- breaking: no
-- Runs that begin again under their own id. `earlier_attempts`: those of the generations before this one.
alter table outlast.run_state
  add column generation int not null default 1,
  add column earlier_attempts int not null default 0;
