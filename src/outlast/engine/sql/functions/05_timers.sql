-- The one clock: what is due now, taken in portions.

create function turn_timers(
  env text, moment timestamptz, floor double precision, pins boolean, portion int
) returns setof told language plpgsql as $$
declare
  due outlast.timer[];
begin
  with taken as (
    delete from outlast.timer t
    where t.ctid = any (array(
      select ctid from outlast.timer
      where environment_id = env and due_at <= moment order by due_at limit portion))
    returning t
  )
  select array_agg(t) into due from taken;
  if due is null then return; end if;

  perform enter(env, moment, floor, pins, (
    select array_agg(row(s.run_id, 1, t.due_at - make_interval(secs => r.priority),
                         true, null, null)::entering)
    from unnest(due) t
    join outlast.run_state s on s.run_id = any (array[t.ref])
    cross join lateral (
      select priority from outlast.run where environment_id = env and id = t.ref limit 1) r
    where (t.kind = 'delay' and s.status = 'delayed') or (t.kind = 'retry' and s.status = 'retrying')));

  if exists (select from unnest(due) where kind = 'delay') then
    delete from outlast.debounce d using unnest(due) t where t.kind = 'delay' and d.run_id = any (array[t.ref]);
  end if;

  if exists (select from unnest(due) where kind = 'rate') then  -- their rate lets something start again
    update outlast.lane l set open = true, vtime = greatest(l.vtime, floor)
    from unnest(due) t
    where t.kind = 'rate' and l.environment_id = any (array[t.environment_id]) and l.queue = t.ref
      and l.key = t.key and not l.open;
  end if;

  return query select * from force_end(env, moment, floor, pins, (
    select array_agg(s.run_id) from unnest(due) t join outlast.run_state s on s.run_id = any (array[t.ref])
    where t.kind = 'ttl' and s.status = 'queued' and s.attempt = 0 and s.cancel_at is null),
    'expired', error_text('expired', 'Expired', 'not started within its ttl'));

  insert into outlast.event (run_id, at, kind, detail)
  select s.run_id, moment, 'cancel hooks missed', 'no worker took the run within 30 s of its cancel'
  from unnest(due) t join outlast.run_state s on s.run_id = any (array[t.ref])
  where t.kind = 'cancel' and s.cancel_at is not null and s.status = 'queued';
  return query select * from force_end(env, moment, floor, pins, (
    select array_agg(s.run_id) from unnest(due) t join outlast.run_state s on s.run_id = any (array[t.ref])
    where t.kind = 'cancel' and s.cancel_at is not null),
    'canceled', error_text('canceled', 'Canceled', 'did not unwind within 30 s of its cancel'));

  return query select * from force_end(env, moment, floor, pins, (
    select array_agg(s.run_id) from unnest(due) t join outlast.run_state s on s.run_id = any (array[t.ref])
    where t.kind = 'park' and s.status = 'waiting' and s.reason is not null),
    'failed', error_text('replay', 'NonDeterministicReplayError',
                         'could not be replayed by any version for 7 days'));

  return query select * from expire_waitpoints(env, moment, floor, pins, (
    select array_agg(t) from unnest(due) t where t.kind = 'token'));

  return query select * from finish_entries(env, moment, floor, pins, (
    select array_agg(row(t.ref, t.key, case t.kind
      when 'wait' then '{"ok":true}'
      else json_build_object('ok', false, 'error', json_build_object(
        'kind', 'timed_out', 'type', 'TimeoutError', 'message', 'the wait timed out'))::text
      end)::finish)
    from unnest(due) t where t.kind in ('wait', 'timeout')));
end $$;
