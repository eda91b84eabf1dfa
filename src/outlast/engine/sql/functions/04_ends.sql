-- How runs leave: completed, failed, retried, canceled, expired; suspended and parked; rescued.

create function error_text(kind text, type text, message text) returns text language sql immutable as $$
  select json_build_object('kind', kind, 'type', type, 'message', message)::text $$;

-- End runs whatever they do now. The token is raised: whoever holds them is late, and is told to drop them.
create function force_end(
  env text, moment timestamptz, floor double precision, pins boolean, runs text[], how text, error text
) returns setof told language plpgsql as $$
declare
  busy bigint[];
  over text[];
begin
  if coalesce(cardinality(runs), 0) = 0 then return; end if;
  perform withdraw(env, (select array_agg(s.run_id) from outlast.run_state s
                         where s.run_id = any (runs) and s.status = 'queued'));
  return query
    select (say(s.session_id, 'drop', s.run_id, s.token, how || ': ' || (error::json ->> 'message'))).*
    from outlast.run_state s
    where s.run_id = any (runs) and coalesce(s.session_id, '') <> ''
      and s.status in ('dequeued', 'executing', 'waiting', 'queued');
  with before as (
    select run_id, lane_id, status from outlast.run_state
    where run_id = any (runs)
      and status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')
  ), ended as (
    update outlast.run_state s
    set status = how, token = s.token + 1, session_id = null, awaiting = null, ready_at = null,
        reason = null, updated_at = moment,
        active_seconds = s.active_seconds + case when b.status in ('dequeued', 'executing')
          then extract(epoch from moment - coalesce(s.entered_at, moment)) else 0 end
    from before b
    where s.run_id = any (array[b.run_id])
    returning s.run_id, s.lane_id, s.attempt, b.status in ('dequeued', 'executing') as was_busy
  ), written as (
    insert into outlast.run_end (run_id, status, error, attempt, finished_at)
    select run_id, how, force_end.error, attempt, moment from ended
  )
  select array_agg(run_id), array_agg(lane_id) filter (where was_busy) into over, busy from ended;
  if busy is not null then
    perform release(env, busy, floor);
  end if;
  return query select 'ended', 0, o, 0::bigint, null::text, how from unnest(over) o;
  return query select * from finish_waiters(env, moment, floor, pins, over);
end $$;

-- Completions and failures, as their executors report them. A requested cancel wins over all but a completion.
create function turn_ends(
  env text, moment timestamptz, floor double precision, pins boolean, items ending[]
) returns setof told language plpgsql as $$
declare
  lanes bigint[];
  over text[];
  became text[];
  watched text[];
  crashes text[];
begin
  with ended as (
    update outlast.run_state s
    set status = case
          when s.cancel_at is not null and i.status not in ('completed', 'waiting') then 'canceled'
          else i.status end,
        token = s.token + 1, session_id = null, awaiting = null, updated_at = moment,
        machine = coalesce(i.machine, s.machine),
        reason = case when i.status = 'waiting' then i.error::json ->> 'message' end,
        active_seconds = s.active_seconds + extract(epoch from moment - coalesce(s.entered_at, moment))
    from unnest(items) i
    where s.run_id = any (array[i.run]) and s.token = i.token and s.status in ('dequeued', 'executing')
    returning s.run_id, s.lane_id, s.status, s.attempt, s.watched, s.suspect, i.output, i.error, i.retry_in, i.forget, i.n
  ), written as (
    insert into outlast.run_end (run_id, status, output, error, attempt, finished_at)
    select run_id, status, output, case when status <> 'completed' then error end, attempt, moment
    from ended where status not in ('retrying', 'waiting')
  ), timed as (
    insert into outlast.timer (environment_id, due_at, kind, ref)
    select env, moment + make_interval(secs => coalesce(retry_in, 0)), 'retry', run_id
    from ended where status = 'retrying'
    union all
    select env, moment + interval '7 days', 'park', run_id from ended where status = 'waiting'
    on conflict do nothing
  ), noted as (
    insert into outlast.event (run_id, at, kind, detail)
    select run_id, moment, case status when 'retrying' then 'attempt failed' else 'cannot replay' end,
           coalesce(error, '')
    from ended where status in ('retrying', 'waiting')
  ), forgotten as (  -- the next attempt tries these again: their failure ended this one
    delete from outlast.entry e using ended d
    where d.status = 'retrying' and e.run_id = any (array[d.run_id]) and e.key = any (d.forget)
  )
  select array_agg(lane_id), array_agg(run_id) filter (where status not in ('retrying', 'waiting')),
         array_agg(status) filter (where status not in ('retrying', 'waiting')),
         array_agg(run_id) filter (where d.watched and status not in ('retrying', 'waiting')),
         array_agg(d.suspect) filter (where d.suspect is not null and d.error::json ->> 'kind' = 'crashed')
  into lanes, over, became, watched, crashes from ended d;
  if lanes is null then return; end if;
  perform release(env, lanes, floor);
  if crashes is not null then  -- the guilty one is known, and stays alone
    update outlast.run_state s set suspect = s.run_id
    from unnest(items) i where s.run_id = any (array[i.run]) and s.suspect is not null;
    perform clear_suspects(env, moment, floor, crashes);
  end if;
  return query
    select 'ended', 0, o.run, 0::bigint, null::text, o.status from unnest(over, became) as o (run, status);
  if watched is not null then
    return query select * from finish_waiters(env, moment, floor, pins, watched);
  end if;
end $$;

-- Suspends hold only while none of the named entries is finished; else the answer is "go on".
create function turn_suspends(
  env text, moment timestamptz, floor double precision, items suspension[]
) returns setof told language plpgsql as $$
declare
  lanes bigint[];
begin
  with held as (
    update outlast.run_state s
    set status = 'waiting', awaiting = i.keys, updated_at = moment,
        active_seconds = s.active_seconds + extract(epoch from moment - coalesce(s.entered_at, moment))
    from unnest(items) i
    where s.run_id = any (array[i.run]) and s.token = i.token and s.status in ('dequeued', 'executing')
      and s.cancel_at is null
      and not exists (select from outlast.entry e
                      where e.run_id = any (array[i.run]) and e.key = any (i.keys) and e.outcome is not null)
    returning s.lane_id
  )
  select array_agg(lane_id) into lanes from held;
  if lanes is not null then
    perform release(env, lanes, floor);
  end if;
  return query
    select 'held', i.n, i.run, i.token, null::text,
           (s.token = i.token and s.status = 'waiting')::text
    from unnest(items) i left join outlast.run_state s on s.run_id = any (array[i.run]);
end $$;

-- Parked runs that go on by themselves want their slot back, at home.
create function turn_wakes(
  env text, moment timestamptz, floor double precision, pins boolean, items holding[]
) returns void language plpgsql as $$
begin
  perform enter(env, moment, floor, pins, (
    select array_agg(row(s.run_id, 0, moment, false, s.session_id, moment + interval '2 seconds')::entering)
    from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run])
    where s.token = i.token and s.status = 'waiting' and s.reason is null));
end $$;

-- Runs that are parked because no version could replay them are tried again, cold.
create function turn_resumes(
  env text, moment timestamptz, floor double precision, pins boolean, runs text[]
) returns void language plpgsql as $$
begin
  update outlast.run_state s set version_id = null
  where s.run_id = any (runs) and s.status = 'waiting' and s.reason is not null;
  perform enter(env, moment, floor, pins, (
    select array_agg(row(s.run_id, 0, moment, false, null, null)::entering)
    from outlast.run_state s
    where s.run_id = any (runs) and s.environment_id = env and s.status = 'waiting' and s.reason is not null));
end $$;

-- Runs pinned to versions that nobody offers any more go on with the current one, by replay.
create function turn_frees(
  env text, moment timestamptz, floor double precision, pins boolean, versions text[]
) returns void language plpgsql as $$
declare
  moved entering[];
  runs text[];
begin
  select array_agg(row(r.run_id, r.rank, r.at, r.fresh, null, null)::entering), array_agg(r.run_id)
  into moved, runs
  from outlast.ready r
  where r.ctid = any (ready_rows(array(
    select run_id from outlast.run_state
    where environment_id = env and status = 'queued'
      and version_id = any (versions)
      and (status in ('delayed', 'pending_version', 'queued', 'dequeued', 'executing', 'waiting', 'retrying')) is true)));
  if moved is null then return; end if;
  perform withdraw(env, runs);
  insert into outlast.event (run_id, at, kind, detail)
  select s.run_id, moment, 'version left', coalesce(v.name, s.version_id)
  from outlast.run_state s left join outlast.version v on v.id = s.version_id where s.run_id = any (runs);
  update outlast.run_state s set version_id = null where s.run_id = any (runs);
  perform enter(env, moment, floor, pins, moved);
end $$;

-- Runs that crashed together with the guilty one may run beside others again.
create function clear_suspects(env text, moment timestamptz, floor double precision, crashes text[])
returns void language plpgsql as $$
declare
  items entering[];
  runs text[];
begin
  select array_agg(row(r.run_id, r.rank, r.at, r.fresh, null, null)::entering), array_agg(r.run_id)
  into items, runs
  from outlast.ready r
  where r.ctid = any (ready_rows(array(
    select run_id from outlast.run_state
    where suspect = any (crashes) and suspect <> run_id and status = 'queued')));
  perform withdraw(env, runs);
  update outlast.run_state s set suspect = null where s.suspect = any (crashes) and s.suspect <> s.run_id;
  if runs is not null then
    perform change_lanes(env, (select pins_versions from outlast.environment where id = env), runs);
    perform enter(env, moment, floor, false, items);
  end if;
end $$;

-- Parked and queued runs only lose their home; a resume that stood ready for it is anyone's.
create function lose_home(runs text[]) returns void language plpgsql as $$
begin
  update outlast.ready set home = null, home_until = null where ctid = any (ready_rows(runs));
  update outlast.run_state s set session_id = null
  where s.run_id = any (runs) and s.status in ('waiting', 'queued');
end $$;

-- Runs handed back or lost go to `ready` on the same attempt, journal kept. A requested cancel ends them
-- instead. `counts`: it was a loss; after three without a new entry the run is a suspect and runs alone, and a
-- suspect that takes its worker along fails its attempt.
create function rescue(
  env text, moment timestamptz, floor double precision, pins boolean, items rescuing[], why text, counts boolean
) returns setof told language plpgsql as $$
declare
  runs text[] := array(
    select s.run_id from unnest(items) i join outlast.run_state s on s.run_id = any (array[i.run]) where s.token = i.token);
  lanes bigint[];
  again text[];
  hooked text[];  -- canceled, and somewhere else the hooks of that can still run
  failed ending[];
begin
  perform lose_home(runs);
  hooked := with_cancel_hooks(env, array(
    select s.run_id from outlast.run_state s
    where s.run_id = any (runs) and s.status in ('dequeued', 'executing') and s.cancel_at is not null));
  return query select * from force_end(env, moment, floor, pins, (
    select array_agg(s.run_id) from outlast.run_state s
    where s.run_id = any (runs) and s.status in ('dequeued', 'executing') and s.cancel_at is not null
      and s.run_id <> all (hooked)),
    'canceled', error_text('canceled', 'Canceled', 'canceled while its worker was lost'));
  if counts then
    select array_agg(row(0, s.run_id, s.token,
      case when s.attempt - s.earlier_attempts < (r.retry::json ->> 'max_attempts')::int then 'retrying' else 'crashed' end,
      null, error_text('crashed', 'WorkerLost', 'took its worker along three times without getting on'),
      1.0, '{}', null)::ending)
    into failed
    from outlast.run_state s
    cross join lateral (select retry from outlast.run where environment_id = env and id = s.run_id limit 1) r
    where s.run_id = any (runs) and s.suspect = s.run_id and s.status in ('dequeued', 'executing');
    if failed is not null then
      return query select * from turn_ends(env, moment, floor, pins, failed);
    end if;
  end if;
  with lost as (
    update outlast.run_state s
    set token = s.token + 1, rescues = s.rescues + counts::int,
        suspect = coalesce(s.suspect, i.suspect, case when s.rescues + counts::int >= 3 then s.run_id end),
        active_seconds = s.active_seconds + extract(epoch from moment - coalesce(s.entered_at, moment))
    from unnest(items) i
    where s.run_id = any (array[i.run]) and s.token = i.token and s.status in ('dequeued', 'executing')
    returning s.run_id, s.lane_id
  ), noted as (
    insert into outlast.event (run_id, at, kind, detail) select run_id, moment, 'rescued', why from lost
  )
  select array_agg(run_id), array_agg(lane_id) into again, lanes from lost;
  if again is null then return; end if;
  perform release(env, lanes, floor);
  perform move_to_cancel(env, hooked);
  perform enter(env, moment, floor, pins, (
    select array_agg(row(r, 0, moment, false, null, null)::entering) from unnest(again) r));
end $$;

-- Those of the runs whose code wants to hear of a cancel, as the version that they go on with declares.
create function with_cancel_hooks(env text, runs text[]) returns text[] language sql stable as $$
  select array(
    select s.run_id
    from outlast.run_state s
    join outlast.environment e on e.id = env
    cross join lateral (
      select r.task, r.version_pin from outlast.run r
      where r.environment_id = env and r.id = s.run_id limit 1) r
    where s.run_id = any (runs) and s.environment_id = env and exists (
      select from outlast.task t
      where t.id = r.task and (t.manifest::json ->> 'on_cancel')::boolean
        and t.version_id = coalesce(
          case when e.pins_versions then coalesce(s.version_id, r.version_pin) end, e.current_version_id))) $$;

-- The system's own queue, which no list shows.
create function cancel_queue() returns text language sql immutable as $$ select 'outlast/cancel' $$;

-- Canceled runs wait for a worker in lanes that neither limit nor pause holds back, on the routes they need.
create function move_to_cancel(env text, runs text[]) returns void language plpgsql as $$
begin
  if coalesce(cardinality(runs), 0) = 0 then return; end if;
  insert into outlast.queue (environment_id, name) values (env, cancel_queue()) on conflict do nothing;
  insert into outlast.lane (environment_id, queue, key, route)
  select distinct env, cancel_queue(), '', l.route
  from outlast.run_state s join outlast.lane l on l.id = any (array[s.lane_id]) where s.run_id = any (runs)
  on conflict do nothing;
  update outlast.run_state s
  set lane_id = (select t.id from outlast.lane t where t.environment_id = env and t.queue = cancel_queue()
                 and t.key = '' and t.route = l.route)
  from outlast.lane l
  where s.run_id = any (runs) and l.id = any (array[s.lane_id]);
end $$;

-- Cancels with all runs they triggered, whatever the depth: queued and waiting ones end at once, executing
-- ones get 30 seconds to unwind. So long the hooks of a run that does not execute wait for a worker.
create function turn_cancels(
  env text, moment timestamptz, floor double precision, pins boolean, items cancellation[]
) returns setof told language plpgsql as $$
declare
  family text[];
  hooked text[];
begin
  with recursive down as (
    select i.run collate "C" as id from unnest(items) i
    union
    select r.id from down d cross join lateral (
      select id from outlast.run where environment_id = env and parent_id = d.id offset 0) r
  )
  select array_agg(id) into family from down;
  family := array(
    select s.run_id from outlast.run_state s
    where s.run_id = any (family) and s.environment_id = env and s.cancel_at is null);
  hooked := with_cancel_hooks(env, array(
    select s.run_id from outlast.run_state s
    where s.run_id = any (family)
      and s.status in ('delayed', 'pending_version', 'queued', 'waiting', 'retrying')));
  perform place_parked(env, hooked);
  perform ask_hooks(env, moment, floor, pins, hooked);
  return query select * from force_end(env, moment, floor, pins, (
    select array_agg(s.run_id) from outlast.run_state s
    where s.run_id = any (family) and s.run_id <> all (hooked)
      and s.status in ('delayed', 'pending_version', 'queued', 'waiting', 'retrying')),
    'canceled', error_text('canceled', 'Canceled', 'canceled by request'));
  return query
    with asked as (
      update outlast.run_state s set cancel_at = moment
      where s.run_id = any (family) and s.environment_id = env
        and s.status in ('dequeued', 'executing') and s.cancel_at is null
      returning s.run_id, s.token, s.session_id
    ), timed as (
      insert into outlast.timer (environment_id, due_at, kind, ref)
      select env, moment + interval '30 seconds', 'cancel', run_id from asked
      on conflict do nothing
    )
    select (say(a.session_id, 'cancel', a.run_id, a.token, 'canceled by request')).* from asked a;
end $$;

-- Runs that do not execute go to a worker once more, for the hooks of their cancel: where they are parked, if so.
create function ask_hooks(env text, moment timestamptz, floor double precision, pins boolean, runs text[])
returns void language plpgsql as $$
begin
  if cardinality(runs) = 0 then return; end if;
  perform withdraw(env, array(
    select s.run_id from outlast.run_state s where s.run_id = any (runs) and s.status = 'queued'));
  perform move_to_cancel(env, runs);
  update outlast.run_state s set cancel_at = moment where s.run_id = any (runs);
  insert into outlast.timer (environment_id, due_at, kind, ref)
  select env, moment + interval '30 seconds', 'cancel', r from unnest(runs) r
  on conflict do nothing;
  perform enter(env, moment, floor, pins, (
    select array_agg(row(s.run_id, 0, moment, false, s.session_id,
                         case when s.session_id is not null then moment + interval '2 seconds' end)::entering)
    from outlast.run_state s where s.run_id = any (runs)));
end $$;
