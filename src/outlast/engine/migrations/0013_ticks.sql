-- breaking: no
-- What is due of one environment is found without a look at that of all others.

create index schedule_environment_due_idx on outlast.schedule (environment_id, due_at) where active;
