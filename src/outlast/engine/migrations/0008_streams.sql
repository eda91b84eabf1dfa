-- breaking: no
-- Streams: output and input chunks of runs.
select 1;
