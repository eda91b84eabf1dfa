-- What the relay and `outlast outbox list` ask of the table in outbox.sql.

-- name: take
-- In the order of their numbers; what another relay holds is its own to deliver.
select number, body, attempts from outlast_outbox
where next_at <= clock_timestamp()
order by number limit :portion::int
for update skip locked

-- name: delivered
delete from outlast_outbox where number = any (:numbers::bigint[])

-- name: postpone
update outlast_outbox
set attempts = attempts + 1, error = :error::text,
  next_at = clock_timestamp() + make_interval(secs => :pause::float8)
where number = :number::bigint

-- name: undelivered
select number, created_at, attempts, error from outlast_outbox order by number limit :most::int
