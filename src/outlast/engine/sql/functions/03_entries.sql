-- Journal entries that the cycle owns: finishing them wakes the run that waits.

create function say(session text, kind text, run text, token bigint, data text) returns told
language sql immutable as $$ select row(kind, 0, run, token, session, data)::told $$;

-- Finish entries. A run that waits for one goes back to its lane, before new work of the lane, for two
-- seconds reserved for the executor that parks it; a run that executes is told the result.
create function finish_entries(
  env text, moment timestamptz, floor double precision, pins boolean, items finish[]
) returns setof told language plpgsql as $$
declare
  done finish[];
  woken entering[];
begin
  if coalesce(cardinality(items), 0) = 0 then return; end if;
  with finished as (
    update outlast.entry e
    set outcome = i.outcome, finished_at = moment
    from unnest(items) i
    where e.run_id = any (array[i.run]) and e.key = i.key and e.outcome is null
    returning e.run_id, e.key, e.outcome
  )
  select array_agg(row(run_id, key, outcome)::finish) into done from finished;
  select array_agg(row(w.run_id, 0, moment, false, w.session_id, moment + interval '2 seconds')::entering)
  into woken
  from (select distinct s.run_id, s.session_id
        from unnest(done) d
        cross join lateral (select * from outlast.run_state where run_id = d.run limit 1) s
        where s.status = 'waiting' and d.key = any (s.awaiting)) w;
  if woken is not null then
    perform enter(env, moment, floor, pins, woken);
  end if;
  return query
    select (say(s.session_id, 'result', s.run_id, s.token,
                json_build_object('key', d.key, 'outcome', d.outcome::json)::text)).*
    from unnest(done) d
    join outlast.run_state s on s.run_id = any (array[d.run])
    where s.status in ('dequeued', 'executing') and coalesce(s.session_id, '') <> '';
end $$;

-- The outcome of an ended run, as its waiters receive it.
create function outcome_of(run text, task text, status text, output text, error text) returns text
language sql immutable as $$
  select case when status = 'completed'
    then json_build_object('ok', true, 'value', output, 'run_id', run, 'task', task)::text
    else json_build_object('ok', false, 'error', error::json, 'run_id', run, 'task', task)::text
  end $$;

-- The outcome of a batch: one outcome per item, in order. Items that made no run carry their refusal.
create function outcome_of_batch(batch text) returns text language sql stable as $$
  select json_build_object('ok', true, 'members', coalesce(json_agg(
    case when i.run_id is null
      then json_build_object('ok', false, 'task', i.task, 'error', json_build_object(
        'kind', 'raised', 'type', 'TriggerRefused', 'message', i.error::json ->> 'message'))
      else outcome_of(i.run_id, i.task, e.status, e.output, e.error)::json
    end order by i.index), '[]'::json))::text
  from outlast.batch_item i left join outlast.run_end e on e.run_id = any (array[i.run_id])
  where i.batch_id = batch $$;

-- Who waits for ended runs: child entries directly, batches by counting their ended items.
create function finish_waiters(
  env text, moment timestamptz, floor double precision, pins boolean, runs text[]
) returns setof told language plpgsql as $$
declare
  done finish[];
  full_batches text[];
begin
  if coalesce(cardinality(runs), 0) = 0 then return; end if;
  with counted as (
    update outlast.batch b set ended = b.ended + c.count, updated_at = moment
    from (select batch_id, count(*)::int as count from outlast.batch_item
          where run_id = any (runs) group by batch_id) c
    where b.id = any (array[c.batch_id])
    returning b.id, b.sealed and b.ended >= b.size as is_full
  )
  select array_agg(id) into full_batches from counted where is_full;
  with gone as (
    delete from outlast.waiter w where w.target = any (runs || full_batches)
    returning w.target, w.run_id, w.key
  )
  select array_agg(row(g.run_id, g.key,
    case when e.run_id is null then outcome_of_batch(g.target)
         else outcome_of(e.run_id, r.task, e.status, e.output, e.error) end)::finish)
  into done
  from gone g
  left join outlast.run_end e on e.run_id = any (array[g.target])
  left join lateral (  -- by order: `run_task_idx` would fit an equality too, and be read from end to end
    select id, task from outlast.run where (environment_id, id) >= (env, g.target)
    order by environment_id, id limit 1) r on r.id = g.target;
  return query select * from finish_entries(env, moment, floor, pins, done);
end $$;
