-- name: insert_blobs
insert into outlast.blob (id, environment_id, data)
select b.id, :environment_id::text, b.data
from unnest(:ids::text[], :data::text[]) as b (id, data)
