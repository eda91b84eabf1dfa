-- breaking: no
-- Runs: replays, bulk actions, hooks, machines, debounce.
select 1;
