-- name: list_alerts
select a.id, a.environment_id, a.name, a.channel, a.shown_address, a.types, a.enabled, a.last_error, a.delivered_at,
  a.created_at, a.created_by,
  (select coalesce(sum(coalesce(d.folded, 1)), 0) from outlast.alert_due d where d.alert_id = a.id)::int as waiting
from outlast.alert a
where a.environment_id = :environment_id::text and (:id::text is null or a.id = :id::text)
order by a.name, a.id

-- name: insert_alert
-- As many as an environment may have, unless several are made at the same moment.
insert into outlast.alert (
  id, environment_id, name, channel, address_sealed, secret_sealed, shown_address, types, created_by)
select :id::text, :environment_id::text, :name::text, :channel::text, :address_sealed::bytea, :secret_sealed::bytea,
  :shown_address::text, :types::text[], :created_by::text
where (select count(*) from outlast.alert where environment_id = :environment_id::text) < :most::int

-- name: change_alert
-- What a disabled alert had yet to tell is not told once it is enabled again.
with silenced as (
  delete from outlast.alert_due d using outlast.alert a
  where :enabled::boolean is false and a.id = :id::text and a.environment_id = :environment_id::text
    and d.alert_id = a.id
)
update outlast.alert
set name = coalesce(:name::text, name), types = coalesce(:types::text[], types),
    enabled = coalesce(:enabled::boolean, enabled)
where id = :id::text and environment_id = :environment_id::text

-- name: delete_alert
with gone as (
  delete from outlast.alert where id = :id::text and environment_id = :environment_id::text
  returning id
), forgotten as (
  delete from outlast.alert_due d using gone g where d.alert_id = g.id
)
select id from gone

-- name: find_destination
select name, channel, address_sealed, secret_sealed from outlast.alert
where id = :id::text and environment_id = :environment_id::text

-- name: note
-- What happened outside of turns, for whoever wants to be told. Failed runs: functions/08_turn.sql.
insert into outlast.alert_due (alert_id, environment_id, type, subject, detail, occurred_at, due_at)
select a.id, x.environment_id, :type::text, x.subject, x.detail, m.moment, m.moment
from unnest(:environments::text[], :subjects::text[], :details::text[]) as x (environment_id, subject, detail)
join outlast.alert a on a.environment_id = x.environment_id and a.enabled and :type::text = any (a.types)
cross join (select coalesce(:clock::timestamptz, clock_timestamp()) as moment) m

-- name: fold
-- Of what an alert has yet to tell, the oldest is told one by one; the rest, as far as nobody tries it yet, as one.
with heavy as (
  select alert_id from outlast.alert_due where folded is null group by alert_id having count(*) > :most::int
), beyond as (
  delete from outlast.alert_due where id in (
    select d.id from heavy h
    cross join lateral (
      select id, attempts from outlast.alert_due where alert_id = h.alert_id and folded is null
      order by attempts = 0, id limit 5000 offset :most for update skip locked) d
    where d.attempts = 0)
  returning id, alert_id, environment_id, type, subject, detail, occurred_at, due_at
)
insert into outlast.alert_due as d (
  alert_id, environment_id, type, subject, detail, occurred_at, due_at, folded)
select alert_id, min(environment_id), type, (array_agg(subject order by id desc))[1],
  (array_agg(detail order by id desc))[1], max(occurred_at), min(due_at), count(*)
from beyond group by alert_id, type
on conflict (alert_id, type) where folded is not null do update
set folded = d.folded + excluded.folded, subject = excluded.subject, detail = excluded.detail,
  occurred_at = excluded.occurred_at

-- name: take
-- A few of each alert. Whoever dies while it sends them loses them after the lease.
with due as (
  select d.id from outlast.alert a
  cross join lateral (
    select id from outlast.alert_due
    where alert_id = a.id and due_at <= coalesce(:clock::timestamptz, clock_timestamp())
    order by due_at, id limit :each::int for update skip locked) d
  where a.enabled and a.id <> all (:busy::text[])
  limit :room::int
)
update outlast.alert_due d
set attempts = d.attempts + 1,
    due_at = coalesce(:clock, clock_timestamp()) + make_interval(secs => :lease::float8)
from due, outlast.alert a
where d.id = due.id and a.id = d.alert_id
returning d.id, d.alert_id, d.environment_id, d.type, d.subject, d.detail, d.occurred_at, d.folded,
  a.name, a.channel, a.address_sealed, a.secret_sealed

-- name: delivered
-- What was folded in meanwhile has yet to be told. Nothing was told where what it was about is gone.
with told as (
  delete from outlast.alert_due where id = :id::bigint and coalesce(folded, 0) <= :folded::int
), rest as (
  update outlast.alert_due
  set folded = folded - :folded, attempts = 0, due_at = coalesce(:clock::timestamptz, clock_timestamp())
  where id = :id and folded > :folded
)
update outlast.alert
set last_error = null, delivered_at = coalesce(:clock, clock_timestamp())
where id = :alert_id::text and :was_told::boolean

-- name: postpone
-- Ten seconds, twenty, up to an hour; after a day it is given up.
with moment as (
  select coalesce(:clock::timestamptz, clock_timestamp()) as now
), postponed as (
  update outlast.alert_due d
  set due_at = m.now + make_interval(secs => least(:first::float8 * 2 ^ least(d.attempts - 1, 20), :longest::float8))
  from moment m
  where d.id = :id::bigint and d.occurred_at > m.now - make_interval(secs => :patience::float8)
), given_up as (
  delete from outlast.alert_due d using moment m
  where d.id = :id and d.occurred_at <= m.now - make_interval(secs => :patience)
  returning d.id
)
update outlast.alert
set last_error = case when exists (select from given_up) then 'given up: ' else '' end || :error::text
where id = :alert_id::text

-- name: prune
-- A turn may note something for an alert that is deleted at that moment.
delete from outlast.alert_due d where not exists (select from outlast.alert a where a.id = d.alert_id)
