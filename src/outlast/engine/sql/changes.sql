-- name: list_changed
-- The watched runs that are no longer what the watcher knows. A version is a digest and compared for equality only:
-- moments of commits are in no order, and no commit can slip behind a high-water mark.
select k.n::int as n, v.version
from unnest(:environments::text[], :runs::text[], :known::bigint[]) with ordinality k (environment, run, known, n)
join outlast.run_state s on s.run_id = k.run and s.environment_id = k.environment
left join outlast.metadata m on m.run_id = k.run
cross join lateral (select hashtextextended(concat_ws(' ', k.run, s.status, s.token, s.attempt,
  extract(epoch from s.updated_at), extract(epoch from m.updated_at),
  (select count(*) from outlast.tag t where t.run_id = k.run),
  (select count(*) from outlast.stream t where t.run_id = k.run)), 0) as version) v
where v.version is distinct from k.known

-- name: list_tagged
-- The newest runs with all tags of each list, read along the index of the first tag.
select w.n, m.run_id as id
from json_to_recordset(:lists::json) as w (n int, environment text, tags text[], floor text)
cross join lateral (
  select t.run_id from outlast.tag t
  where t.environment_id = w.environment and t.tag = w.tags[1] and t.run_id >= w.floor
    and not exists (
      select from unnest(w.tags[2:]) g (tag)
      where not exists (select from outlast.tag x where x.run_id = t.run_id and x.tag = g.tag))
  order by t.run_id desc limit :most::int) m

-- name: list_batched
-- The runs of each batch, those that an idempotency key had made before it included.
select w.n, m.id
from json_to_recordset(:lists::json) as w (n int, environment text, batch text)
cross join lateral (
  select r.id from outlast.run r
  where r.environment_id = w.environment and r.id in (
    select b.id from outlast.run b where b.environment_id = w.environment and b.batch_id = w.batch
    union select i.run_id from outlast.batch_item i where i.batch_id = w.batch and i.run_id is not null)
  order by r.id desc limit :most::int) m

-- name: list_newest
select w.n, m.id
from json_to_recordset(:lists::json) as w (n int, environment text, count int)
cross join lateral (
  select r.id from outlast.run r where r.environment_id = w.environment
  order by r.id desc limit least(w.count, :most::int)) m

-- name: read_rows
-- What a subscriber sees of each run.
select r.id, r.task, s.status, r.created_at, greatest(s.updated_at, m.updated_at) as updated_at, s.started_at,
  e.finished_at, r.delay_until, r.ttl, r.is_test, coalesce(r.idempotency_shown, r.idempotency_key) as idempotency_key,
  coalesce(r.payload, b.data) as payload, r.payload_type, coalesce(m.value::text, r.metadata) as metadata,
  e.output, e.error, s.active_seconds,
  array(select tag from outlast.tag t where t.run_id = r.id order by tag) as tags,
  array(select t.key from outlast.stream t where t.run_id = r.id order by t.created_at, t.key) as streams
from outlast.run r
join outlast.run_state s on s.run_id = r.id
left join outlast.run_end e on e.run_id = r.id
left join outlast.metadata m on m.run_id = r.id
left join outlast.blob b on b.id = r.payload_blob and b.environment_id = r.environment_id
where r.environment_id = :environment_id::text and r.id = any (:ids::text[])
order by r.id
