-- What is old goes, in portions that few rows bound, and in the order of keys, so that nobody waits for long. Only what
-- belongs to ended runs is locked here, which no turn changes; lanes are the turn's, so they go under its lock.

create type pruned as (last text, looked int, pruned int, is_done boolean);

-- Rows of these tables can be many for one run; they are inserted and never changed once it has ended.
create function bulky(kind text) returns text[] language sql immutable as $$
  select case kind
    when 'logs' then array['log']
    when 'streams' then array['stream_chunk', 'input_message']
    else array['log', 'stream_chunk', 'input_message', 'entry', 'delivery'] end $$;

-- Whether a table has rows of these runs or of some between them, which stand in order: one look, where most tables
-- have none of a portion.
create function has_some(belonging text, runs text[]) returns boolean language plpgsql as $$
declare
  found boolean;
begin
  execute format('select exists (select from outlast.%I where run_id between $1 and $2)', belonging)
  into found using runs[1], runs[cardinality(runs)];
  return found;
end $$;

-- Delete up to so many rows of runs; returns how many more may go. 0: there may be more.
create function shed(tables text[], runs text[], most int) returns int language plpgsql as $$
declare
  belonging text;
  gone int;
begin
  foreach belonging in array tables loop
    continue when not has_some(belonging, runs);
    execute format(
      'delete from outlast.%1$I where ctid = any (array('
      'select ctid from outlast.%1$I where run_id = any ($1) limit $2))', belonging) using runs, most;
    get diagnostics gone = row_count;
    most := most - gone;
    exit when most <= 0;
  end loop;
  return most;
end $$;

-- Erase ended runs, in order, whose ends the caller has locked, or as much of them as fits. Every table with an index on
-- `run_id` belongs to runs, whichever concept brought it: none can be forgotten.
create function erase(env text, runs text[], most int) returns boolean language plpgsql as $$
declare
  belonging text;
begin
  if shed(bulky('runs'), runs, most) <= 0 then
    return false;
  end if;
  if exists (  -- of their own input streams
    select from outlast.waiter w where w.target > runs[1] and w.target < runs[cardinality(runs)] || '0'
  ) then
    delete from outlast.waiter w using unnest(runs) u where w.target > u || '/' and w.target < u || '0';
  end if;
  for belonging in
    select distinct c.relname
    from pg_index i
    join pg_class c on c.oid = i.indrelid and c.relkind = 'r' and c.relnamespace = 'outlast'::regnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] and a.attname = 'run_id'
    order by c.relname
  loop
    continue when not has_some(belonging, runs);
    execute format('delete from outlast.%I where run_id = any ($1)', belonging) using runs;
  end loop;
  with gone as (  -- one walk through their range; a look for each would cost twice as much
    delete from outlast.run r
    where r.environment_id = env and r.id between runs[1] and runs[cardinality(runs)] and r.id = any (runs)
    returning payload_blob
  )
  delete from outlast.blob b using gone g where b.id = g.payload_blob;
  return true;
end $$;

-- Which of these runs, in order, somebody who has not ended still needs: their parent, or who waits for a batch they are
-- in.
create function needed(env text, runs text[]) returns text[] language sql stable as $$
  select array(
    select r.id from outlast.run r
    where r.environment_id = env and r.id between runs[1] and runs[cardinality(runs)] and r.id = any (runs)
      and r.parent_id is not null
      and exists (select from outlast.run_state p where p.run_id = r.parent_id)
      and not exists (select from outlast.run_end e where e.run_id = r.parent_id)
    union
    select i.run_id from outlast.batch_item i join outlast.waiter w on w.target = i.batch_id
    where i.run_id = any (runs)) $$;

-- Hold a walk for the rest of the transaction and return where it stands; null: another server holds it.
create function hold_walk(env text, wanted text) returns text language plpgsql as $$
declare
  held text;
begin
  select w.position into held from outlast.prune_walk w
  where w.environment_id = env and w.kind = wanted for update skip locked;
  if not found and not exists (
    select from outlast.prune_walk w where w.environment_id = env and w.kind = wanted
  ) then
    insert into outlast.prune_walk as w (environment_id, kind) values (env, wanted)
    on conflict do nothing returning w.position into held;
  end if;
  return held;
end $$;

-- One portion of runs. What has not ended, or is needed, is passed over, however old.
create function prune_runs(
  env text, after text, before text, ended_before timestamptz, portion int, most int
) returns pruned
language plpgsql
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  ids text[];
  kept text[];
  gone text[];
begin
  if hold_walk(env, 'runs') is null then
    return row(null, 0, 0, true)::pruned;
  end if;
  ids := array(
    select id from outlast.run where environment_id = env and id > after and id < before order by id limit portion);
  kept := needed(env, ids);
  gone := array(
    select e.run_id from outlast.run_end e
    where e.run_id = any (ids) and e.finished_at < ended_before and e.run_id <> all (kept)
    order by e.run_id for update skip locked);
  if cardinality(gone) > 0 and not erase(env, gone, most) then
    return row(after, cardinality(ids), 0, false)::pruned;
  end if;
  return row(ids[cardinality(ids)], cardinality(ids), cardinality(gone), cardinality(ids) < portion)::pruned;
end $$;

-- One run, ended or not, however young. Answers what it came to; 'more': ask again.
create function erase_run(env text, id text, most int) returns text
language plpgsql
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  perform from outlast.run r where r.environment_id = env and r.id = erase_run.id;
  if not found then return 'unknown'; end if;
  perform from outlast.run_end e where e.run_id = id for update;
  if not found then return 'open'; end if;
  if cardinality(needed(env, array[id])) > 0 then return 'needed'; end if;
  return case when erase(env, array[id], most) then 'gone' else 'more' end;
end $$;

-- The logs or the streams of runs that are kept longer themselves. `is_late`: of those passed too early before.
create function prune_parts(
  env text, kind text, is_late boolean, after text, before text, ended_before timestamptz, portion int, most int
) returns pruned
language plpgsql
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_variable
declare
  start text := hold_walk(env, kind);
  ids text[];
  due text[];
begin
  if start is null then
    return row(null, 0, 0, true)::pruned;
  end if;
  if is_late then
    ids := array(
      select l.run_id from outlast.prune_later l
      where l.environment_id = env and l.kind = prune_parts.kind and l.run_id > after
      order by l.run_id limit portion);
  else
    ids := array(
      select r.id from outlast.run r
      where r.environment_id = env and r.id > start and r.id < before order by r.id limit portion);
  end if;
  due := array(
    select e.run_id from outlast.run_end e
    where e.run_id = any (ids) and e.finished_at < ended_before order by e.run_id);
  if shed(bulky(kind), due, most) <= 0 then
    return row(after, cardinality(ids), 0, false)::pruned;
  end if;
  if kind = 'streams' then
    delete from outlast.stream s where s.run_id = any (due);
    delete from outlast.input_stream s where s.run_id = any (due);
  end if;
  if is_late then
    delete from outlast.prune_later l where l.kind = prune_parts.kind and l.run_id = any (due);
  else
    insert into outlast.prune_later (run_id, kind, environment_id)
    select i, kind, env from unnest(ids) i where i <> all (due) on conflict do nothing;
    update outlast.prune_walk w set position = coalesce(ids[cardinality(ids)], start)
    where w.environment_id = env and w.kind = prune_parts.kind;
  end if;
  return row(ids[cardinality(ids)], cardinality(ids), cardinality(due), cardinality(ids) < portion)::pruned;
end $$;

-- Large payloads are written before the turn that makes their run: where it made none, nobody has them.
create function prune_blobs(before text, portion int) returns pruned
language plpgsql
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  start text := hold_walk('', 'blobs');
  ids text[];
  gone int;
begin
  if start is null then
    return row(null, 0, 0, true)::pruned;
  end if;
  ids := array(select b.id from outlast.blob b where b.id > start and b.id < before order by b.id limit portion);
  delete from outlast.blob b where b.id = any (ids)
    and not exists (select from outlast.run r where r.payload_blob = b.id);
  get diagnostics gone = row_count;
  update outlast.prune_walk w set position = coalesce(ids[cardinality(ids)], start)
  where w.environment_id = '' and w.kind = 'blobs';
  return row(ids[cardinality(ids)], cardinality(ids), gone, cardinality(ids) < portion)::pruned;
end $$;

-- Lanes, paces and groups of which nobody would notice that they are made anew: a lane that comes back starts at the
-- floor, as a new one does; a pace in the past and a group behind the floor hold nothing back.
create function drop_idle(
  env text, clock timestamptz, lanes bigint[], paced text[], keys text[], grouped text[], names text[]
) returns int
language plpgsql
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  moment timestamptz;
  floor double precision;
  gone int;
  more int;
begin
  perform from outlast.environment where id = env for update;
  moment := coalesce(clock, clock_timestamp());
  select coalesce(max(served), 0) into floor from outlast.queue where environment_id = env;
  delete from outlast.lane l
  where l.id = any (lanes) and l.environment_id = env and l.queued = 0 and l.running = 0 and l.vtime <= floor
    and not exists (
      select from outlast.run_state s
      where s.lane_id = l.id and (s.status in ('delayed', 'pending_version', 'waiting', 'retrying')) is true);
  get diagnostics gone = row_count;
  delete from outlast.pace p using unnest(paced, keys) as i (queue, key)
  where p.environment_id = env and p.queue = i.queue and p.key = i.key and p.arrival < moment - interval '1 minute';
  get diagnostics more = row_count;
  gone := gone + more;
  delete from outlast.fairness_group g
  using unnest(grouped, names) as i (queue, name), outlast.queue q
  where g.environment_id = env and g.queue = i.queue and g.name = i.name and g.tail + 1 <= floor
    and q.environment_id = env and q.name = g.queue and q.queued = 0;
  get diagnostics more = row_count;
  return gone + more;
end $$;
