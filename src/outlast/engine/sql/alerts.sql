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
