-- Writes of executing runs that stay outside the cycle: finished local entries, the order of delivery, reports.
-- All are fenced by the lease token; rows are taken in key order. The recorded result always wins.

create type new_step as (
  n int, run text, token bigint, key text, kind text, name text, attempt int, number int, position bigint,
  arguments text, preview text, outcome text
);
create type new_delivery as (run text, token bigint, key text, number int, abandoned boolean);
create type new_operation as (
  n int, run text, token bigint, target text, scope text, ordinal bigint, type text, key text, value text
);
create type new_line as (run text, token bigint, at double precision, level text, message text);
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
    from (select distinct run_id from kept) k where s.run_id = k.run_id and s.rescues > 0;
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
    insert into outlast.log (run_id, at, level, message)
    select i.run, to_timestamp(i.at), i.level, i.message
    from json_populate_recordset(null::new_line, lines) i
    cross join lateral (select 1 from outlast.run_state where run_id = i.run and token = i.token limit 1) s;
  end if;
  if tags is not null then
    insert into outlast.tag (run_id, tag)
    select i.run, i.tag
    from json_populate_recordset(null::new_tag, tags) i
    cross join lateral (select 1 from outlast.run_state where run_id = i.run and token = i.token limit 1) s
    order by i.run, i.tag
    on conflict do nothing;
  end if;
end $$;

-- One operation on a metadata object (wire contract 7.3).
create function operated(value jsonb, type text, key text, operand jsonb) returns jsonb
language sql immutable as $$
  select case type
    when 'set' then value || jsonb_build_object(key, operand)
    when 'delete' then value - key
    when 'increment' then value || jsonb_build_object(key,
      (case when jsonb_typeof(value -> key) = 'number' then (value ->> key)::numeric else 0 end)
      + (operand #>> '{}')::numeric)
    when 'append' then value || jsonb_build_object(key,
      case when value -> key is null then jsonb_build_array(operand)
           when jsonb_typeof(value -> key) = 'array' then (value -> key) || jsonb_build_array(operand)
           else jsonb_build_array(value -> key, operand) end)
    when 'remove' then case when jsonb_typeof(value -> key) = 'array' then value || jsonb_build_object(key,
      coalesce((select jsonb_agg(x) from jsonb_array_elements(value -> key) x where x <> operand), '[]')) else value end
    when 'update' then operand
    else value end $$;

-- Apply metadata operations in order; one at a position that was applied before changes nothing.
create function operate(items json) returns void
language plpgsql
set search_path from current
as $$
declare
  item new_operation;
  goal text;
  place text;
  seen outlast.metadata;
begin
  for item in
    select * from json_populate_recordset(null::new_operation, items) order by run, n
  loop
    select case item.target when 'parent' then r.parent_id when 'root' then coalesce(r.root_id, r.id) else r.id end
    into goal
    from outlast.run_state s join outlast.run r on r.environment_id = s.environment_id and r.id = s.run_id
    where s.run_id = item.run and s.token = item.token;
    continue when goal is null;
    place := case when goal = item.run then item.scope else item.run || ' ' || item.scope end;
    insert into outlast.metadata (run_id, value, updated_at)
    select r.id, coalesce(r.metadata, '{}')::jsonb, clock_timestamp()
    from outlast.run_state s join outlast.run r on r.environment_id = s.environment_id and r.id = s.run_id
    where s.run_id = goal
    on conflict do nothing;
    select * into seen from outlast.metadata where run_id = goal for update;
    continue when coalesce((seen.positions ->> place)::bigint, -1) >= item.ordinal;
    update outlast.metadata
    set value = operated(value, item.type, item.key, item.value::jsonb),
        positions = positions || jsonb_build_object(place, item.ordinal),
        updated_at = clock_timestamp()
    where run_id = goal;
  end loop;
end $$;
