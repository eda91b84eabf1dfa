-- :count runs of the environment :environment over the last 30 days, as a list meets them: most of them plain,
-- some of every kind, and kinds that only the oldest ones are, which a list from the newest on finds last.
create temporary table made as
select n, n::float8 / :count as age,  -- 1 is the oldest
  now() - interval '30 days' * n / :count as at
from generate_series(1, :count) n;

create temporary table identified as
select m.*, 'run_' || (
    select string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz', ((ms >> (5 * (9 - i))) & 31)::int + 1, 1), '' order by i)
    from generate_series(0, 9) i) || lpad((:count - n)::text, 16, '0') as id
from made m cross join lateral (select floor(extract(epoch from m.at) * 1000)::bigint as ms) t;

insert into outlast.version (id, environment_id, name, digest, runtime, sdk)
select 'version_' || v, ':environment', '2026010' || v || '.1', 'digest-' || v, 'python', '1'
from generate_series(0, 2) v;

insert into outlast.run (
  environment_id, id, task, queue, executor, payload, payload_type, tags, parent_id, root_id, trigger_function,
  batch_id, machine, is_test, schedule_id, retry, seed, created_at)
select ':environment', id,
  case when age > 0.999 then 'rare' else 'task-' || n % 20 end,
  case when n % 100 = 1 then 'slow' when age > 0.999 then 'task/rare' else 'task/task-' || n % 20 end,
  'shared', '1', 'application/json',
  case when age > 0.99 then array['old'] when n % 2 = 0 then array['org_' || n % 1000] else '{}' end,
  case when n % 3 = 0 then 'run_parent_' || n / 30 end, case when n % 3 = 0 then 'run_parent_' || n / 30 end,
  'trigger',
  case when n % 10 = 2 then 'batch_' || n / 10000 end,
  case when n % 100 = 3 then 'micro' end,
  age > 0.99, case when n % 100 = 4 then 'sched_' || n % 7 end, '{}', '\x00', at
from identified;

insert into outlast.run_state (run_id, environment_id, status, attempt, lane_id, version_id, updated_at)
select id, ':environment', case
    when age > 0.9999 then 'crashed' when age > 0.9 and n % 10 = 0 then 'queued'
    when n % 50 = 0 then 'failed' when n % 100 = 1 then 'canceled' when n % 1000 = 2 then 'expired'
    when age < 0.001 then 'executing' else 'completed' end,
  1, 0, case when age > 0.999 then 'version_0' when age > 0.5 then 'version_1' else 'version_2' end, at
from identified;

insert into outlast.run_end (run_id, status, output, attempt, finished_at)
select run_id, status, '1', 1, updated_at from outlast.run_state where status not in ('queued', 'executing');

insert into outlast.tag (run_id, tag, environment_id)
select id, 'late', ':environment' from identified where n % 500 = 5
union all
select r.id, t.tag, ':environment' from outlast.run r cross join unnest(r.tags) as t (tag);

insert into outlast.bulk_action (id, environment_id, kind, status, taken_all, total, worked_at, created_at)
values ('bulk_1', ':environment', 'cancel', 'completed', true, 0, now(), now());
insert into outlast.bulk_run (bulk_id, run_id, outcome, result_id)
select 'bulk_1', id, 'success', id from identified where age > 0.98;

drop table identified;
drop table made;
