-- name: append
select n, goal, key, problem from outlast_code.append_chunks(:items::json)

-- name: open
-- A stream exists from its first announcement, whether or not a chunk follows.
insert into outlast.stream (run_id, key) values (:run::text, :key::text) on conflict do nothing

-- name: goal
-- The run that a target names, seen from a run: null when there is no such run here; and whether it has ended.
select g.id, e.run_id is not null as has_ended
from outlast.run r
cross join lateral (
  select coalesce(case :target::text when 'parent' then r.parent_id when 'root' then r.root_id end, r.id) as id) g
left join outlast.run_end e on e.run_id = g.id
where r.environment_id = :environment::text and r.id = :run::text

-- name: last_of_writer
select coalesce(max(p.chunks), 0) - 1 from outlast.position p
where p.run_id = :run::text and p.attempt = 0 and p.scope = :scope::text

-- name: chunks
-- At most 1 MB of text: what follows is read by the next statement.
select index, data from (
  select c.index, c.data, sum(octet_length(c.data)) over (order by c.index) - octet_length(c.data) as before
  from (
    select index, data from outlast.stream_chunk
    where run_id = :run::text and key = :key::text and index >= :start::bigint
    order by index limit 200) c
) x where before < 1000000 order by index

-- name: standing
-- How far the streams that are read on this server have got, and whether their runs have ended.
select f.run_id, f.key, coalesce(s.chunks, 0) as chunks, e.run_id is not null as has_ended
from unnest(:runs::text[], :keys::text[]) as f (run_id, key)
left join lateral (
  select chunks from outlast.stream x where x.run_id = f.run_id and x.key = f.key limit 1) s on true
left join lateral (select run_id from outlast.run_end x where x.run_id = f.run_id limit 1) e on true

-- name: keys_of
-- The streams that runs have written.
select run_id, array_agg(key order by key) as keys from outlast.stream
where run_id = any (:runs::text[]) group by run_id

-- name: store_message
-- Before the turn, so that its data does not travel through it; a repeated request finds it there.
with goal as (
  select id from outlast.run where environment_id = :environment::text and id = :run::text
), stored as (
  insert into outlast.input_message (run_id, id, key, data)
  select g.id, :message::text, :key::text, :data::text
  from goal g where not exists (select from outlast.run_end e where e.run_id = g.id)
  on conflict do nothing
)
select id from goal

-- name: messages
select number as index, data from outlast.input_message
where run_id = :run::text and key = :key::text and number > :start::bigint
order by number limit 50
