-- Writes of executing runs that stay outside the cycle: finished local entries, the order of delivery, reports.
-- All are fenced by the lease token; rows are taken in key order. The recorded result always wins.

create type new_step as (
  n int, run text, token bigint, key text, kind text, name text, attempt int, number int, position bigint,
  arguments text, preview text, outcome text
);
create type new_delivery as (run text, token bigint, key text, number int, abandoned boolean);
create type new_line as (
  run text, token bigint, at double precision, level text, message text, scope text, ordinal bigint,
  kind text, span text, parent text, attributes text
);
create type new_tag as (run text, token bigint, tag text);

create function journal(steps json, deliveries json, lines json, tags json)
returns table (n int, run text, token bigint, outcome text)
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  wanted new_step[];
begin
  if steps is not null then
    wanted := array(select i::new_step from json_populate_recordset(null::new_step, steps) i);
    with kept as (
      insert into outlast.entry (
        run_id, key, kind, name, attempt, number, position, arguments, preview, outcome, created_at, finished_at)
      select i.run, i.key, i.kind, i.name, s.attempt, i.number, coalesce(i.position, 0),
        coalesce(i.arguments, ''), coalesce(i.preview, ''), i.outcome, clock_timestamp(), clock_timestamp()
      from unnest(wanted) i
      cross join lateral (
        select attempt from outlast.run_state
        where run_id = i.run and token = i.token and status in ('dequeued', 'executing') limit 1) s
      order by i.run, i.key
      on conflict (run_id, key) do nothing
      returning run_id
    )
    update outlast.run_state s set rescues = 0
    from (select distinct run_id from kept) k where s.run_id = any (array[k.run_id]) and s.rescues > 0;
    return query
      select i.n, i.run, i.token, e.outcome
      from unnest(wanted) i
      left join lateral (
        select outcome from outlast.entry where run_id = i.run and key = i.key limit 1) e on true;
  end if;
  if deliveries is not null then
    insert into outlast.delivery (run_id, key, number, abandoned)
    select i.run, i.key, i.number, coalesce(i.abandoned, false)
    from json_populate_recordset(null::new_delivery, deliveries) i
    cross join lateral (select 1 from outlast.run_state where run_id = i.run and token = i.token limit 1) s
    order by i.run, i.key
    on conflict (run_id, key) do nothing;
  end if;
  if lines is not null then
    insert into outlast.log (
      run_id, attempt, at, level, message, scope, ordinal, kind, span, parent, attributes)
    select i.run, s.attempt, to_timestamp(i.at), i.level, i.message, i.scope, i.ordinal,
      coalesce(i.kind, 'line'), i.span, i.parent, i.attributes
    from json_populate_recordset(null::new_line, lines) i
    cross join lateral (
      select attempt from outlast.run_state where run_id = i.run and token = i.token limit 1) s
    on conflict do nothing;
  end if;
  if tags is not null then
    perform add_tags(i.run, array_agg(i.tag))
    from json_populate_recordset(null::new_tag, tags) i
    cross join lateral (select 1 from outlast.run_state where run_id = i.run and token = i.token limit 1) s
    group by i.run
    order by i.run;
  end if;
end $$;
