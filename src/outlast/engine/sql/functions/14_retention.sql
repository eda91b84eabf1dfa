-- What is old goes: portions of ended runs in the order of their ids, with everything that belongs to them.

create type pruned as (last text, looked int, pruned int);

-- Every table with an index on `run_id` belongs to runs, whichever concept brought it: none can be forgotten.
-- Runs that have not ended stay however old they are, and so does what they hold.
create function prune_runs(env text, after text, before text, ended_before timestamptz, portion int) returns pruned
language plpgsql set search_path from current as $$
declare
  ids text[];
  gone text[];
  belonging text;
begin
  select array_agg(id) into ids from (
    select id from outlast.run where environment_id = env and id > after and id < before order by id limit portion) r;
  select array_agg(run_id) into gone from (
    select run_id from outlast.run_end where run_id = any (ids) and finished_at < ended_before
    order by run_id for update skip locked) e;
  if gone is not null then
    delete from outlast.blob b using outlast.run r
    where r.environment_id = env and r.id = any (gone) and b.id = r.payload_blob;
    for belonging in
      select distinct c.relname
      from pg_index i
      join pg_class c on c.oid = i.indrelid and c.relkind = 'r' and c.relnamespace = 'outlast'::regnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] and a.attname = 'run_id'
      order by c.relname
    loop
      execute format('delete from outlast.%I where run_id = any ($1)', belonging) using gone;
    end loop;
    delete from outlast.run where environment_id = env and id = any (gone);
  end if;
  return row(ids[cardinality(ids)], coalesce(cardinality(ids), 0), coalesce(cardinality(gone), 0))::pruned;
end $$;
