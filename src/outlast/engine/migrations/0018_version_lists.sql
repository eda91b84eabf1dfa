-- breaking: no
-- Lists of a version's runs, ended or not, in the order of the ids. `is true`: only lists say the same, see 0004.
drop index outlast.run_state_version_idx;
create index run_state_version_idx on outlast.run_state (environment_id, version_id, run_id)
  where (version_id is not null) is true;
