-- name: save
-- Who uploads again replaces what was there: a repeated upload is the same one.
insert into outlast.packet (environment_id, path, content_type, data)
values (:environment::text, :path::text, :content_type::text, :data::text)
on conflict (environment_id, path) do update
set content_type = excluded.content_type, data = excluded.data, created_at = clock_timestamp()

-- name: find
select content_type, data from outlast.packet where environment_id = :environment::text and path = :path::text

-- name: prune
-- A trigger copies what it names, so a packet serves downloads and late triggers only.
delete from outlast.packet
where (environment_id, path) in (
  select environment_id, path from outlast.packet
  where created_at < clock_timestamp() - make_interval(days => :days::int)
  order by created_at limit :portion::int)
