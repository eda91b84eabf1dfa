-- breaking: no
-- Queues: pause, overrides, groups of lanes, statistics.
select 1;
