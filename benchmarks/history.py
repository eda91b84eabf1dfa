"""What stands in the tables before a workload begins, written behind the platform's back.

Triggering it is not what is measured. The ids begin with `run_0`: older than any real one.
"""

FINISHED = """
with made as (
  insert into outlast.run (environment_id, id, task, queue, executor, payload, payload_type,
      trigger_function, retry, seed, created_at)
  select e.id, 'run_00' || lpad(n::text, 24, '0'), 'noop', 'task/noop', 'shared', '1',
    'application/json', 'trigger', '{"max_attempts":3}', '\\x00', now() - interval '1 day'
  from outlast.environment e, generate_series(1, $1::int) n
  where e.id = (select environment_id from outlast.session limit 1)
  on conflict do nothing
  returning environment_id, id, created_at
), stated as (
  insert into outlast.run_state
      (run_id, environment_id, status, attempt, token, lane_id, updated_at)
  select id, environment_id, 'completed', 1, 2, 0, created_at from made
)
insert into outlast.run_end (run_id, status, output, attempt, finished_at)
select id, 'completed', '1', 1, created_at from made
"""
"""Runs that have ended; $1: how many."""

_QUEUED, _LANES = 200_000, 100

QUEUED = f"""
insert into outlast.queue (environment_id, name, concurrency_limit, queued)
  select id, 'closed', 0, {_QUEUED} from outlast.environment where slug = 'dev'
  on conflict do nothing;
insert into outlast.lane (environment_id, queue, key, route, queued)
  select e.id, 'closed', 'key-' || k, 'current/shared', {_QUEUED // _LANES}
  from outlast.environment e, generate_series(1, {_LANES}) k where e.slug = 'dev'
  on conflict do nothing;
insert into outlast.run (environment_id, id, task, queue, concurrency_key, executor, payload,
    payload_type, trigger_function, retry, seed, created_at)
  select e.id, 'run_0' || lpad(n::text, 12, '0'), 'noop', 'closed', 'key-' || (1 + n % {_LANES}),
    'shared', '1', 'application/json', 'trigger', '{{}}', '\\x00', now()
  from outlast.environment e, generate_series(1, {_QUEUED}) n where e.slug = 'dev'
  on conflict do nothing;
insert into outlast.run_state
    (run_id, environment_id, status, lane_id, ready_rank, ready_at, updated_at)
  select r.id, r.environment_id, 'queued', l.id, 1, r.created_at, now()
  from outlast.run r join outlast.lane l on l.environment_id = r.environment_id
    and l.queue = r.queue and l.key = r.concurrency_key
  where r.queue = 'closed' on conflict do nothing;
insert into outlast.ready (lane_id, rank, at, run_id, fresh)
  select lane_id, 1, ready_at, run_id, true from outlast.run_state s
  where exists (select from outlast.run r where r.environment_id = s.environment_id
                and r.id = s.run_id and r.queue = 'closed') on conflict do nothing;
analyze
"""
"""Runs that wait in lanes of a queue with limit 0. Once: a second time changes nothing."""
