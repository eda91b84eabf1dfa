-- name: retrieve
select w.id, w.status, w.tags, w.idempotency_key, w.idempotency_expires_at, w.callback_sealed, w.output,
  w.timeout_at, w.created_at, w.completed_at
from outlast.waitpoint w
where w.environment_id = :environment::text and w.id = any (:ids::text[])

-- name: find_callback
-- The address of a callback names no environment: the secret in it is what opens the token.
select w.environment_id, w.status, w.callback_hash from outlast.waitpoint w where w.id = :id::text

-- name: list_older
select w.id, w.status, w.tags, w.idempotency_key, w.idempotency_expires_at, w.callback_sealed, null as output,
  w.timeout_at, w.created_at, w.completed_at
from outlast.waitpoint w
where w.environment_id = :environment::text
  and (:after::text is null or w.id < :after::text)
  and (:statuses::text[] is null or w.status = any (:statuses::text[]))
  and (:tags::text[] is null or w.tags && :tags::text[])
  and (:idempotency_key::text is null or w.idempotency_key = :idempotency_key::text)
  and (:created_from::timestamptz is null or w.created_at >= :created_from::timestamptz)
  and (:created_to::timestamptz is null or w.created_at <= :created_to::timestamptz)
order by w.id desc limit :size::int

-- name: list_newer
select w.id, w.status, w.tags, w.idempotency_key, w.idempotency_expires_at, w.callback_sealed, null as output,
  w.timeout_at, w.created_at, w.completed_at
from outlast.waitpoint w
where w.environment_id = :environment::text
  and w.id > :before::text
  and (:statuses::text[] is null or w.status = any (:statuses::text[]))
  and (:tags::text[] is null or w.tags && :tags::text[])
  and (:idempotency_key::text is null or w.idempotency_key = :idempotency_key::text)
  and (:created_from::timestamptz is null or w.created_at >= :created_from::timestamptz)
  and (:created_to::timestamptz is null or w.created_at <= :created_to::timestamptz)
order by w.id asc limit :size::int
