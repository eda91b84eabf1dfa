-- What runs report and what is changed from outside: metadata and tags. Never part of a run's control flow.
-- Rows are locked in key order, positions before metadata; no row of the cycle is locked.

create type new_operation as (
  n int, run text, token bigint, target text, scope text, ordinal bigint, type text, path text[], value text
);
create type due_operation as (
  n int, run text, attempt int, scope text, ordinal bigint, goal text, type text, path text[], value text
);

-- A value with another one put at a path; objects on the way are made.
create function placed(value jsonb, path text[], fresh jsonb) returns jsonb
language plpgsql immutable as $$
begin
  if cardinality(path) = 0 then
    return fresh;
  end if;
  if jsonb_typeof(value) = 'array' and path[1] ~ '^\d{1,6}$' then
    return jsonb_set(value, path[1:1], outlast_code.placed(value -> path[1]::int, path[2:], fresh));
  end if;
  return case when jsonb_typeof(value) = 'object' then value else '{}' end
    || jsonb_build_object(path[1], outlast_code.placed(value -> path[1], path[2:], fresh));
end $$;

-- One operation on a metadata object (wire contract 7.3). What does not fit its place changes nothing.
create function operated(value jsonb, type text, path text[], operand jsonb) returns jsonb
language plpgsql immutable as $$
declare
  held jsonb := value #> path;
begin
  case type
    when 'set' then return outlast_code.placed(value, path, operand);
    when 'delete' then return value #- path;
    when 'increment' then return outlast_code.placed(value, path, to_jsonb(
      case when jsonb_typeof(held) = 'number' then (held #>> '{}')::numeric else 0 end + (operand #>> '{}')::numeric));
    when 'append' then return outlast_code.placed(value, path, case
      when held is null then jsonb_build_array(operand)
      when jsonb_typeof(held) = 'array' then held || jsonb_build_array(operand)
      else jsonb_build_array(held, operand) end);
    when 'remove' then
      if jsonb_typeof(held) <> 'array' or held is null then
        return value;
      end if;
      return outlast_code.placed(value, path, coalesce(
        (select jsonb_agg(x.each order by x.n) from jsonb_array_elements(held) with ordinality x (each, n)
         where x.each <> operand), '[]'));
    when 'update' then return operand;
    else return value;
  end case;
end $$;

-- Apply operations to one run's metadata. One that would make it too large is left out; `false` says so.
create function amend(goal text, items due_operation[]) returns boolean
language plpgsql
set search_path from current
as $$
declare
  most constant int := 256 * 1024;
  item due_operation;
  held jsonb;
  next jsonb;
  fits boolean := true;
begin
  insert into outlast.metadata (run_id, value, updated_at)
  select r.id, coalesce(r.metadata, '{}')::jsonb, clock_timestamp()
  from outlast.run_state s join outlast.run r on r.environment_id = s.environment_id and r.id = s.run_id
  where s.run_id = goal
  on conflict do nothing;
  select value into held from outlast.metadata where run_id = goal for update;
  for item in select * from unnest(items) i where i.goal = amend.goal order by i.n loop
    next := operated(held, item.type, item.path, item.value::jsonb);
    if item.type in ('set', 'append', 'update') and octet_length(next::text) > most then
      fits := false;
    else
      held := next;
    end if;
  end loop;
  update outlast.metadata set value = held, updated_at = clock_timestamp() where run_id = goal;
  if not fits then
    insert into outlast.event (run_id, at, kind, detail)
    select goal, clock_timestamp(), 'metadata_full',
      'a change of the metadata was left out: it would be larger than 256 KB'
    where not exists (select from outlast.event where run_id = goal and kind = 'metadata_full');
  end if;
  return fits;
end $$;

-- Apply what runs did to metadata, each operation once per attempt: a replay repeats positions, not effects.
create function operate(items json) returns void
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  due due_operation[];
begin
  due := array(
    select row(i.n, i.run, s.attempt, i.scope, i.ordinal,
      coalesce(case i.target when 'parent' then r.parent_id when 'root' then r.root_id end, r.id),
      i.type, i.path, i.value)::due_operation
    from json_populate_recordset(null::new_operation, items) i
    join outlast.run_state s on s.run_id = any (array[i.run]) and s.token = i.token
    cross join lateral (
      select id, parent_id, root_id from outlast.run where environment_id = s.environment_id and id = i.run limit 1) r);
  insert into outlast.position (run_id, attempt, scope, ordinal)
  select distinct d.run, d.attempt, d.scope, 0::bigint from unnest(due) d order by 1, 2, 3
  on conflict do nothing;
  perform from outlast.position p
  where p.run_id = any (array(select d.run from unnest(due) d))
    and (p.run_id, p.attempt, p.scope) in (select d.run, d.attempt, d.scope from unnest(due) d)
  order by p.run_id, p.attempt, p.scope
  for update;
  due := array(
    select d from unnest(due) d
    join outlast.position p on p.run_id = any (array[d.run]) and p.attempt = d.attempt and p.scope = d.scope
    where d.ordinal > p.ordinal);
  update outlast.position p set ordinal = top.ordinal
  from (select d.run, d.attempt, d.scope, max(d.ordinal) as ordinal from unnest(due) d group by 1, 2, 3) top
  where p.run_id = any (array[top.run]) and p.attempt = top.attempt and p.scope = top.scope;
  perform amend(g.goal, due) from (select distinct d.goal from unnest(due) d order by 1) g;
end $$;

-- Change metadata from outside: of the run, its parent and its root, until an hour after its end.
create function revise(environment text, id text, items json)
returns table (answer text, value text)
language plpgsql
set search_path from current
as $$
#variable_conflict use_column
declare
  due due_operation[];
  goals text[];
  goal text;
begin
  if exists (select from outlast.run_end e where e.run_id = id and e.finished_at < clock_timestamp() - interval '1 hour')
  then
    return query select 'ended', null::text;
    return;
  end if;
  due := array(
    select row(i.n, r.id, 0, '', i.n,
      coalesce(case i.target when 'parent' then r.parent_id when 'root' then r.root_id end, r.id),
      i.type, i.path, i.value)::due_operation
    from json_populate_recordset(null::new_operation, items) i
    join outlast.run r on r.environment_id = environment and r.id = revise.id);
  goals := array(select distinct d.goal from unnest(due) d order by 1);
  begin  -- all of it or nothing
    foreach goal in array goals loop
      if not amend(goal, due) then
        raise sqlstate 'OL001';
      end if;
    end loop;
  exception when sqlstate 'OL001' then
    return query select 'too_large', null::text;
    return;
  end;
  return query
    select 'done', coalesce(m.value::text, r.metadata, '{}')
    from outlast.run r left join outlast.metadata m on m.run_id = r.id
    where r.environment_id = environment and r.id = revise.id;
end $$;

-- Add tags to a run as long as it has at most ten; returns how many did not find room.
create function add_tags(goal text, wanted text[]) returns int
language plpgsql
set search_path from current
as $$
declare
  most constant int := 10;
  held text[];
  fresh text[];
begin
  held := array(select t.tag from outlast.tag t where t.run_id = goal);
  fresh := array(select distinct w from unnest(wanted) w where w <> all (held));
  insert into outlast.tag (run_id, tag, environment_id)
  select s.run_id, f, s.environment_id
  from outlast.run_state s cross join unnest(fresh[1 : greatest(0, most - cardinality(held))]) f
  where s.run_id = goal order by f
  on conflict do nothing;
  return greatest(0, cardinality(held) + cardinality(fresh) - most);
end $$;
