-- name: create
insert into outlast.batch (id, environment_id, size, idempotency_key, created_at, updated_at)
values (:batch::text, :environment::text, :size::int, :idempotency_key::text, clock_timestamp(), clock_timestamp())
on conflict do nothing

-- name: find_created
select b.id, b.environment_id, b.size, b.sealed, b.idempotency_key, b.created_at, b.updated_at,
  (select count(*) from outlast.batch_item i where i.batch_id = b.id)::int as created,
  not b.sealed and b.created_at < clock_timestamp() - interval '10 minutes' as abandoned
from outlast.batch b
where b.environment_id = :environment::text
  and (b.id = :batch::text or b.idempotency_key = :idempotency_key::text)
order by b.created_at limit 1

-- name: retrieve
select b.id, b.environment_id, b.size, b.sealed, b.idempotency_key, b.created_at, b.updated_at,
  (select count(*) from outlast.batch_item i where i.batch_id = b.id)::int as created,
  not b.sealed and b.created_at < clock_timestamp() - interval '10 minutes' as abandoned
from outlast.batch b
where b.environment_id = :environment::text and b.id = :batch::text

-- name: items
select i.index, i.task, i.run_id, i.error, e.status, e.output, e.error as failure
from outlast.batch b
join outlast.batch_item i on i.batch_id = b.id
left join outlast.run_end e on e.run_id = i.run_id
where b.environment_id = :environment::text and b.id = :batch::text
order by i.index

-- name: refused
select i.index, i.task, i.run_id, i.error, null::text as status, null::text as output, null::text as failure
from outlast.batch b
join outlast.batch_item i on i.batch_id = b.id
where b.environment_id = :environment::text and b.id = :batch::text and i.error is not null
order by i.index

-- name: present
select index from outlast.batch_item where batch_id = :batch::text

-- name: record
insert into outlast.batch_item (batch_id, index, run_id, task, error)
select :batch::text, i.index, i.run, i.task, i.error
from json_to_recordset(:items::json) as i (index int, run text, task text, error text)
order by i.index
on conflict do nothing

-- name: seal
update outlast.batch b set sealed = true, updated_at = clock_timestamp()
where b.id = :batch::text and not b.sealed
  and b.size <= (select count(*) from outlast.batch_item i where i.batch_id = b.id)

-- name: list_batches
-- Newest first; the counts are of the page only.
select b.id, b.size, b.sealed, b.parent_id, b.created_at, b.updated_at, i.created, i.refused,
  not b.sealed and b.created_at < clock_timestamp() - interval '10 minutes' as abandoned
from (
  select * from outlast.batch
  where environment_id = :environment::text and (:after::text is null or id < :after::text)
  order by environment_id desc, id desc limit :limit::int) b
cross join lateral (
  select count(*)::int as created, count(error)::int as refused
  from outlast.batch_item i where i.batch_id = b.id) i
order by b.id desc
