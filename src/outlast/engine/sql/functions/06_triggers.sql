-- New runs, from callers and from tasks, and the entries that tasks make.

create type created as (n int, call int, item int, run text, cached boolean, fresh boolean);

-- Decide for each item whether it makes a run: a repeated request and a held idempotency key answer with the
-- run there is. Of equals within the turn the first one wins. Laterals with a limit keep the look-ups on their
-- indexes whatever the statistics say.
create function answer(
  env text, moment timestamptz, items new_run[], out made created[], out fresh new_run[]
) language plpgsql as $$
declare
  is_plain boolean;
begin
  -- Nearly always each item makes its run, and one look at its request key shows it.
  select coalesce(bool_and(i.idempotency_key is null and i.retried is not true and q.run_id is null)
      and count(*) = count(distinct coalesce(i.request_key, i.run) collate "C"), true),
    array_agg(row(i.n, i.call, i.item, i.run, false, true)::created)
  into is_plain, made
  from unnest(items) i
  left join lateral (
    select r.run_id from outlast.request r where r.environment_id = env and r.key = i.request_key limit 1) q on true;
  if is_plain then
    fresh := items;
    return;
  end if;
    with wanted as (
      select i, i.n, i.call, i.item, i.run,
        coalesce(x.id, q.run_id) as repeated, k.run_id as held,
        first_value(i.run) over same_request as first_request,
        first_value(i.run) over same_key as first_key
      from unnest(items) i
      left join lateral (
        select r.id from outlast.run r where i.retried and r.environment_id = env and r.id = i.run limit 1) x on true
      left join lateral (
        select r.run_id from outlast.request r
        where r.environment_id = env and r.key = i.request_key limit 1) q on true
      left join lateral (
        select k.run_id from outlast.idempotency k join outlast.run_state s on s.run_id = k.run_id
        where k.environment_id = env and k.task = i.task and k.key = i.idempotency_key
          and k.expires_at > moment
          and s.status not in ('failed', 'crashed', 'system_failure', 'timed_out', 'expired')
          and (s.status not in ('completed', 'canceled') or exists (  -- what is being deleted is not there any more
            select from outlast.run_end e where e.run_id = s.run_id for key share skip locked)) limit 1) k on true
      window same_request as (partition by coalesce(i.request_key, i.run) order by i.n),
             same_key as (partition by i.task, coalesce(i.idempotency_key, i.run) order by i.n)
    ), decided as (
      select i, n, call, item, run,
        coalesce(repeated, case when first_request <> run then first_request end,
                 held, case when first_key <> run then first_key end) as other,
        repeated is null and first_request = run
          and (held is not null or first_key <> run) as cached
      from wanted
    )
    select array_agg(row(n, call, item, coalesce(other, run), cached, other is null)::created order by n),
           array_agg(i order by n) filter (where other is null)
    into made, fresh from decided;
end $$;

create function starts_at(moment timestamptz, item new_run) returns timestamptz language sql stable as $$
  select greatest(moment, coalesce(
    to_timestamp(item.delay_until), moment + make_interval(secs => item.delay), moment)) $$;

create function create_runs(env text, moment timestamptz, floor double precision, items new_run[])
returns void language plpgsql as $$
declare
  grouped bigint[];
  are_grouped boolean;
  are_tagged boolean;
  are_keyed boolean;
  are_debounced boolean;
  are_delayed boolean;
begin
  if coalesce(cardinality(items), 0) = 0 then return; end if;
  select bool_or(fairness_group is not null), bool_or(cardinality(tags) > 0), bool_or(idempotency_key is not null),
    bool_or(debounce_key is not null), bool_or(delay is not null or delay_until is not null)
  into are_grouped, are_tagged, are_keyed, are_debounced, are_delayed
  from unnest(items);
  insert into outlast.queue (environment_id, name)
  select env, i.queue from (select distinct queue from unnest(items) where parked is not true) i
  where (select 1 from outlast.queue q where q.environment_id = env and q.name = i.queue limit 1) is null;
  insert into outlast.lane (environment_id, queue, key, route, fairness_group)
  select env, i.queue, i.key, i.route, i.name
  from (select queue, coalesce(concurrency_key, '') as key, route, max(fairness_group) as name
        from unnest(items) group by 1, 2, 3) i
  where (select 1 from outlast.lane l where l.environment_id = env and l.queue = i.queue
         and l.key = i.key and l.route = i.route limit 1) is null;
  if are_grouped then perform regroup(env, items); end if;
  insert into outlast.run (
    environment_id, id, task, queue, concurrency_key, executor, payload, payload_type, payload_blob, metadata,
    tags, parent_id, root_id, depth, trigger_function, batch_id, idempotency_key, idempotency_shown,
    idempotency_scope, delay_until, ttl, priority, retry, max_duration, machine, version_pin, is_test,
    replayed_from, schedule_id, trace_context, seed, created_at)
  select env, run, task, queue, concurrency_key, executor, payload, payload_type, payload_blob, metadata,
    coalesce(tags, '{}'), parent, root, coalesce(depth, 0), trigger_function, batch, idempotency_key,
    idempotency_shown, idempotency_scope, coalesce(to_timestamp(delay_until), moment + make_interval(secs => delay)),
    ttl, coalesce(priority, 0), retry, max_duration, machine, version_pin, coalesce(is_test, false),
    replayed_from, schedule, trace_context, decode(seed, 'hex'), moment
  from unnest(items);
  if are_tagged then
    insert into outlast.tag (run_id, tag, environment_id)
    select i.run, t.tag, env from unnest(items) i cross join unnest(i.tags) as t (tag) order by i.run, t.tag
    on conflict do nothing;
  end if;
  with item as (
    select i.*, l.id as lane_id, starts_at(moment, i) as starts_at
    from unnest(items) i
    cross join lateral (
      select id from outlast.lane l where l.environment_id = env and l.queue = i.queue
        and l.key = coalesce(i.concurrency_key, '') and l.route = i.route limit 1) l
  ), stated as (
    insert into outlast.run_state (
      run_id, environment_id, status, lane_id, ready_rank, ready_at, watched, updated_at)
    select run, env,
      case when parked then 'pending_version' when starts_at > moment then 'delayed' else 'queued' end, lane_id, 1,
      case when starts_at <= moment and parked is not true then moment end
        + make_interval(secs => n * 0.000001 - coalesce(priority, 0)),
      trigger_function in ('triggerAndWait', 'batchTriggerAndWait'), moment
    from item
    returning run_id, lane_id, status, ready_at
  ), readied as (
    insert into outlast.ready (lane_id, rank, at, run_id, fresh)
    select lane_id, 1, ready_at, run_id, true from stated where status = 'queued'
  ), grown as (
    update outlast.lane l
    set queued = l.queued + s.count,
        vtime = case when l.queued = 0 then greatest(l.vtime, floor) else l.vtime end
    from (select lane_id, count(*)::int as count from stated where status = 'queued' group by lane_id) s
    where l.id = any (array[s.lane_id])
    returning l.queue, s.count,
      case when l.fairness_group is not null and l.queued = s.count and l.vtime <= floor then l.id end as back
  ), deepened as (
    update outlast.queue q set queued = q.queued + g.count
    from (select queue, sum(count)::int as count from grown group by queue) g
    where q.environment_id = env and q.name = g.queue
  ), requested as (
    insert into outlast.request (environment_id, key, run_id, created_at)
    select env, request_key, run, moment from item where request_key is not null
    on conflict do nothing
  )
  select array_agg(back) into grouped from grown where back is not null;
  if grouped is not null then perform space_out(env, floor, grouped); end if;
  if are_keyed then
    insert into outlast.idempotency (environment_id, task, key, run_id, expires_at)
    select env, task, idempotency_key, run, moment + make_interval(secs => idempotency_ttl)
    from unnest(items) where idempotency_key is not null
    on conflict (environment_id, task, key)
      do update set run_id = excluded.run_id, expires_at = excluded.expires_at;
  end if;
  if are_debounced then
    insert into outlast.debounce (environment_id, task, key, run_id)
    select env, task, debounce_key, run from unnest(items) where debounce_key is not null
    on conflict (environment_id, task, key) do update set run_id = excluded.run_id;
  end if;
  if are_delayed then
    insert into outlast.timer (environment_id, due_at, kind, ref)
    select env, starts_at(moment, i), 'delay', i.run
    from unnest(items) i where starts_at(moment, i) > moment and i.parked is not true
    union all
    select env, starts_at(moment, i) + make_interval(secs => i.ttl), 'ttl', i.run
    from unnest(items) i where i.ttl > 0 and starts_at(moment, i) > moment and i.parked is not true
    on conflict do nothing;
  end if;
end $$;

-- What may start at once has its time to do so from now on; what was claimed in the turn that made it has started.
create function time_starts(env text, moment timestamptz, items new_run[]) returns void language sql as $$
  insert into outlast.timer (environment_id, due_at, kind, ref)
  select env, moment + make_interval(secs => i.ttl), 'ttl', i.run
  from unnest(items) i
  cross join lateral (
    select s.status, s.attempt, s.updated_at from outlast.run_state s where s.run_id = i.run limit 1) s
  where i.ttl > 0 and s.status = 'queued' and s.attempt = 0 and s.updated_at = moment
  on conflict do nothing
$$;

create function turn_triggers(
  env text, moment timestamptz, floor double precision, pins boolean, calls new_call[], runs new_run[]
) returns setof told language plpgsql as $$
declare
  good new_call[];
  made created[];
  fresh new_run[];
  pushed pushing[];
  asked new_run[];
  late new_run[];
  spent int[];
  have_spent boolean;
  are_debounced boolean;
begin
  -- A call holds while its caller owns the run; one that has its entry already only hears of it again.
  if cardinality(calls) > 0 then
    select array_agg(c) into good
    from unnest(calls) c join outlast.run_state s on s.run_id = any (array[c.run])
    where s.token = c.token and s.status in ('dequeued', 'executing', 'waiting')
      and not exists (
        select from outlast.entry e where e.run_id = any (array[c.run]) and e.key = c.key);
    select array_agg(r order by r.n) into asked from unnest(runs) r
    where r.call is null or r.call = any (select n from unnest(good));
  else
    asked := runs;
  end if;
  select coalesce(bool_or(spend is not null), false), coalesce(bool_or(debounce_key is not null), false)
  into have_spent, are_debounced from unnest(asked);
  if have_spent then
    select s.good, s.late, s.spent into asked, late, spent from spend(env, asked) s;
  end if;
  select a.made, a.fresh into made, fresh from answer(env, moment, asked) a;
  if have_spent and exists (select from unnest(late) l join unnest(fresh) f on f.n = l.n) then
    spent := spent || array(select n from unnest(late));
    select a.made, a.fresh into made, fresh from answer(env, moment, (
      select array_agg(r order by r.n) from unnest(asked) r where r.n <> all (spent))) a;
  end if;
  if have_spent then
    return query select 'created', n, null::text, 0::bigint, null::text, 'spent' from unnest(spent) n;
  end if;
  if are_debounced then
    select d.answers, d.leaders, d.pushed into made, fresh, pushed from debounce(env, made, fresh) d;
  end if;
  perform create_runs(env, moment, floor, fresh);
  if are_debounced then
    perform push_back(env, moment, pushed);
  end if;
  return query
    select 'created', m.n, m.run, 0::bigint, null::text, m.cached::text
    from unnest(made) m where m.call is null;
  if coalesce(cardinality(calls), 0) = 0 then return; end if;

  if good is not null then
    good := share_keyed_waits(env, moment, good);
    if exists (select from unnest(made) m where m.call is not null and not m.fresh) then
      select c.calls, c.made into good, made from refuse_circles(env, good, made) c;
    end if;
    perform make_entries(env, moment, good, made);
  end if;
  return query
    select case when s.token = c.token then 'called' else 'stale' end, c.n, c.run, c.token, null::text,
           coalesce(e.runs, '[]')
    from unnest(calls) c
    left join outlast.run_state s on s.run_id = any (array[c.run])
    left join outlast.entry e on e.run_id = any (array[c.run]) and e.key = c.key;
  return query select * from finish_entries(env, moment, floor, pins, finished_at_once(env, good, made, moment));
  if exists (select from unnest(good) c where c.kind = 'stream') then
    return query select * from deliver_messages(env, moment, floor, pins, array(
      select c.run || '/' || c.target from unnest(good) c where c.kind = 'stream'));
  end if;
  return query  -- heard again: what has finished meanwhile
    select (say(s.session_id, 'result', s.run_id, s.token,
                json_build_object('key', e.key, 'outcome', e.outcome::json)::text)).*
    from unnest(calls) c
    join outlast.run_state s on s.run_id = any (array[c.run]) and s.token = c.token
    join outlast.entry e on e.run_id = any (array[c.run]) and e.key = c.key
    where e.outcome is not null and e.kind not in ('trigger', 'waitpoint') and c.n not in (select n from unnest(good));
end $$;

-- A run that waited for itself, or for one above it, would wait for ever: such an item is refused instead.
create function refuse_circles(env text, inout calls new_call[], inout made created[]) language plpgsql as $$
declare
  circle record;
  said text;
begin
  for circle in
    with recursive above as (
      select c.n, c.run collate "C" as run from unnest(calls) c where c.kind in ('child', 'batch')
      union
      select a.n, r.parent_id from above a
      cross join lateral (
        select parent_id from outlast.run where environment_id = env and id = a.run and parent_id is not null limit 1) r
    )
    select m.call, m.item, m.run as waits_for, c.place
    from unnest(made) m
    join unnest(calls) with ordinality as c (n, run, token, key, kind, name, position, arguments, preview, seconds,
      until, timeout, batch, size, tasks, outcome, refusals, attempt, target, idempotency_key, idempotency_ttl, place)
      on c.n = m.call
    where not m.fresh and exists (select from above a where a.n = m.call and a.run = m.run)
  loop
    said := format('the idempotency key answers with run %s, which waits for this call itself, so neither would ever '
      'end; give the child another key, or one of the scope run', circle.waits_for);
    calls[circle.place].refusals := (calls[circle.place].refusals::jsonb || jsonb_build_object(circle.item::text,
      jsonb_build_object('status', 422, 'code', 'invalid_option', 'message', said, 'param', 'idempotencyKey')))::text;
    if calls[circle.place].kind = 'child' then
      calls[circle.place].outcome := json_build_object('ok', false, 'task', calls[circle.place].name,
        'error', json_build_object('kind', 'raised', 'type', 'TriggerRefused', 'message', said))::text;
    end if;
    made := array(
      select m from unnest(made) m where (m.call, m.item) is distinct from (circle.call, circle.item));
  end loop;
end $$;

create function make_entries(env text, moment timestamptz, calls new_call[], made created[])
returns void language plpgsql as $$
begin
  with answered as (
    select c.*, (
      select json_agg(case
          when c.kind = 'trigger' and c.batch is not null then json_strip_nulls(json_build_object(
            'run_id', m.run, 'is_cached', m.cached, 'error', c.refusals::json -> g.item::text, 'batch_id', c.batch))
          when m.run is not null then json_build_object('run_id', m.run, 'is_cached', coalesce(m.cached, false))
          else json_build_object('error', c.refusals::json -> g.item::text) end order by g.item)::text
      from generate_series(0, c.size - 1) as g (item)
      left join unnest(made) m on m.call = c.n and m.item = g.item
    ) as answers
    from unnest(calls) c
  ), entered as (
    insert into outlast.entry (
      run_id, key, kind, name, attempt, position, arguments, preview, runs, outcome, created_at, finished_at)
    select run, key, kind, name, attempt, coalesce(position, 0), coalesce(arguments, ''), coalesce(preview, ''),
      answers,
      case kind when 'trigger' then json_build_object('ok', true, 'value', answers)::text
        when 'waitpoint' then outcome end,
      moment, case when kind in ('trigger', 'waitpoint') then moment end
    from answered
  ), timed as (
    insert into outlast.timer (environment_id, due_at, kind, ref, key)
    select env, coalesce(to_timestamp(until), moment + make_interval(secs => seconds)), 'wait', run, key
    from answered
    where kind = 'wait' and coalesce(to_timestamp(until), moment + make_interval(secs => seconds)) > moment
    union all
    select env, moment + make_interval(secs => timeout), 'timeout', run, key
    from answered where timeout is not null
    on conflict do nothing
  )
  update outlast.run_state s set rescues = 0
  from unnest(calls) c where s.run_id = any (array[c.run]) and s.rescues > 0;

  insert into outlast.waiter (target, run_id, key)
  select m.run, c.run, c.key from unnest(calls) c join unnest(made) m on m.call = c.n where c.kind = 'child'
  union all
  select c.batch, c.run, c.key from unnest(calls) c where c.kind = 'batch'
  union all
  select w.id, c.run, c.key from unnest(calls) c join outlast.waitpoint w on w.id = any (array[c.target])
  where c.kind = 'token' and (w.environment_id = env) is true and w.status = 'waiting'
  union all
  select c.run || '/' || c.target, c.run, c.key from unnest(calls) c where c.kind = 'stream'
  on conflict do nothing;

  update outlast.run_state s set watched = true
  from unnest(made) m join unnest(calls) c on c.n = m.call
  where s.run_id = any (array[m.run]) and not m.fresh and c.kind in ('child', 'batch') and not s.watched;

  with item as (
    insert into outlast.batch_item (batch_id, index, run_id, task, error)
    select c.batch, g.item, m.run, coalesce(c.tasks[g.item + 1], c.name), (c.refusals::json -> g.item::text)::text
    from unnest(calls) c
    cross join lateral generate_series(0, c.size - 1) as g (item)
    left join unnest(made) m on m.call = c.n and m.item = g.item
    where c.batch is not null
    returning batch_id, run_id
  )
  insert into outlast.batch (id, environment_id, size, ended, sealed, parent_id, created_at, updated_at)
  select c.batch, env, c.size, (
      select count(*) from item i left join outlast.run_end e on e.run_id = any (array[i.run_id])
      where i.batch_id = c.batch and (i.run_id is null or e.run_id is not null)),
    true, c.run, moment, moment
  from unnest(calls) c where c.batch is not null;
end $$;

-- Calls that need no waiting: refused ones, moments in the past, children and batches that have ended already.
create function finished_at_once(env text, calls new_call[], made created[], moment timestamptz) returns finish[]
language plpgsql as $$ begin return (
  select array_agg(row(c.run, c.key, coalesce(c.outcome, w.outcome))::finish)
  from unnest(calls) c
  left join lateral (
    select case c.kind
      when 'wait' then (
        select '{"ok":true}'
        where coalesce(to_timestamp(c.until), moment + make_interval(secs => c.seconds)) <= moment)
      when 'child' then (
        select outcome_of(m.run, c.name, e.status, e.output, e.error)
        from unnest(made) m join outlast.run_end e on e.run_id = any (array[m.run]) where m.call = c.n)
      when 'batch' then (
        select outcome_of_batch(b.id) from outlast.batch b where b.id = c.batch and b.ended >= b.size)
      when 'token' then answer_of_waitpoint(env, c.target)
      when 'peek' then peek_message(c.run, c.target)
      end as outcome
  ) w on true
  where coalesce(c.outcome, w.outcome) is not null);
end $$;
