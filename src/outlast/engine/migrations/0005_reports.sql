-- breaking: no
-- What runs report: log lines and metadata that count once.
select 1;
