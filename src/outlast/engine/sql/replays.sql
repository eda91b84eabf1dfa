-- name: read_originals
-- What a run was triggered with, as far as it is stored: metadata and tags of its beginning, not of its end.
select r.id, r.task, r.queue, r.concurrency_key, coalesce(r.payload, b.data) as payload, r.payload_type, r.metadata,
  r.tags, r.ttl, r.priority, r.retry, r.max_duration, r.machine, r.is_test
from outlast.run r
left join outlast.blob b on b.id = r.payload_blob and b.environment_id = r.environment_id
where r.environment_id = :environment_id::text and r.id = any (:ids::text[])
