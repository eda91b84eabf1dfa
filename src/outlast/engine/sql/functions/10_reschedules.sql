-- Delayed runs that are to start at another moment. `held` answers whether a run was still delayed.

create type rescheduling as (n int, run text, delay double precision, delay_until double precision);

-- The timers of the delay and of the ttl behind it move along. A moment in the past is due in this very turn.
create function turn_reschedules(env text, moment timestamptz, items rescheduling[]) returns setof told
language plpgsql as $$
declare
  item rescheduling;
  old outlast.run;
  starts_at timestamptz;
begin
  foreach item in array items loop
    select r.* into old
    from outlast.run_state s
    cross join lateral (select * from outlast.run x where x.environment_id = env and x.id = s.run_id limit 1) r
    where s.run_id = item.run and s.environment_id = env and s.status = 'delayed';
    return query select 'held', item.n, item.run, 0::bigint, null::text, (old.id is not null)::text;
    continue when old.id is null;
    starts_at := greatest(moment, coalesce(
      to_timestamp(item.delay_until), moment + make_interval(secs => item.delay)));
    delete from outlast.timer
    where environment_id = env and due_at = old.delay_until and kind = 'delay' and ref = item.run;
    delete from outlast.timer
    where environment_id = env and due_at = old.delay_until + make_interval(secs => old.ttl)
      and kind = 'ttl' and ref = item.run;
    update outlast.run set delay_until = starts_at where environment_id = env and id = item.run;
    update outlast.run_state set updated_at = moment where run_id = item.run;
    insert into outlast.timer (environment_id, due_at, kind, ref)
    select env, starts_at, 'delay', item.run
    union all
    select env, starts_at + make_interval(secs => old.ttl), 'ttl', item.run where old.ttl > 0
    on conflict do nothing;
  end loop;
end $$;
