-- name: create
insert into outlast.bulk_action (
  id, environment_id, kind, name, status, filter, taken_all, total, worked_at, created_at)
values (:id::text, :environment::text, :kind::text, :name::text, 'pending', :filter::text, :taken_all::boolean,
  :total::int, clock_timestamp(), clock_timestamp())

-- name: retrieve
select id, environment_id, kind, name, status, total, success, failure, created_at, completed_at
from outlast.bulk_action
where environment_id = :environment::text and id = :bulk::text

-- name: newer
select id, environment_id, kind, name, status, total, success, failure, created_at, completed_at
from outlast.bulk_action
where environment_id = :environment::text and id > coalesce(:before::text, '')
order by id limit :limit::int

-- name: older
select id, environment_id, kind, name, status, total, success, failure, created_at, completed_at
from outlast.bulk_action
where environment_id = :environment::text and (:after::text is null or id < :after)
order by id desc limit :limit::int

-- name: abort
update outlast.bulk_action set status = 'aborted', completed_at = clock_timestamp()
where environment_id = :environment::text and id = :bulk::text and status = 'pending'

-- name: lease
-- The one that waits longest; of the replays of an environment only the first ones. A holder that is gone lost it.
update outlast.bulk_action
set holder = :holder::text, lease_until = clock_timestamp() + make_interval(secs => :seconds::float8),
    worked_at = clock_timestamp()
where id = (
  select b.id from outlast.bulk_action b
  where b.status = 'pending' and (b.lease_until is null or b.lease_until < clock_timestamp())
    and (b.kind = 'cancel' or :most::int > (
      select count(*) from outlast.bulk_action o
      where o.status = 'pending' and o.kind = 'replay' and o.environment_id = b.environment_id and o.id < b.id))
  order by b.worked_at limit 1 for update skip locked)
returning id, environment_id, kind, filter, position, taken_all

-- name: pending
select run_id from outlast.bulk_run where bulk_id = :bulk::text and outcome is null order by run_id limit :limit::int

-- name: advance
-- Only the holder takes more.
update outlast.bulk_action
set position = coalesce(:position::text, position), taken_all = :taken_all::boolean
where id = :bulk::text and holder = :holder::text and status = 'pending'

-- name: take
-- A finished run cannot be canceled: that is decided here, before anything is done.
insert into outlast.bulk_run (bulk_id, run_id, outcome, error)
select b.id, w.run, case when s.run_id is null or (b.kind = 'cancel' and e.run_id is not null) then 'failure' end,
  case when s.run_id is null then 'there is no such run'
       when b.kind = 'cancel' and e.run_id is not null then 'the run has ended already' end
from outlast.bulk_action b
cross join unnest(:runs::text[]) as w (run)
left join outlast.run_state s on s.run_id = w.run and s.environment_id = b.environment_id
left join outlast.run_end e on e.run_id = s.run_id
where b.id = :bulk::text
order by w.run
on conflict do nothing

-- name: count_missed
update outlast.bulk_action b
set failure = b.failure + m.count, total = greatest(b.total, b.success + b.failure + m.count)
from (select count(*)::int as count from outlast.bulk_run
      where bulk_id = :bulk::text and run_id = any (:runs::text[]) and outcome = 'failure') m
where b.id = :bulk and m.count > 0

-- name: cancels
-- What cancels came to: asked for or done is success, whoever asked.
select s.run_id, s.status = 'canceled' or s.cancel_at is not null as is_canceled, s.status
from outlast.run_state s where s.run_id = any (:runs::text[])

-- name: record
-- Each run counts once, whichever servers worked on it.
with decided as (
  update outlast.bulk_run r set outcome = d.outcome, result_id = d.result, error = d.error
  from json_to_recordset(:outcomes::json) as d (run text, outcome text, result text, error text)
  where r.bulk_id = :bulk::text and r.run_id = d.run and r.outcome is null
  returning r.outcome
)
update outlast.bulk_action b
set success = b.success + (select count(*) from decided where outcome = 'success'),
    failure = b.failure + (select count(*) from decided where outcome = 'failure'),
    total = greatest(b.total, b.success + b.failure + (select count(*) from decided))
where b.id = :bulk

-- name: release
update outlast.bulk_action set holder = null, lease_until = null
where id = :bulk::text and holder = :holder::text

-- name: complete
update outlast.bulk_action b
set status = 'completed', total = b.success + b.failure, completed_at = clock_timestamp()
where b.id = :bulk::text and b.status = 'pending' and b.taken_all
  and not exists (select from outlast.bulk_run r where r.bulk_id = b.id and r.outcome is null)

-- name: moment
select clock_timestamp()
