-- name: open_session
-- A session that was declared lost stays lost: its worker comes back as a new one.
insert into outlast.session (
  id, environment_id, version_id, server_id, name, host, pid, heartbeat_at, created_at)
values (
  :session::text, :environment::text, :version::text, :server::text, :name::text, :host::text, :pid::int,
  clock_timestamp(), clock_timestamp())
on conflict (id) do update
set server_id = excluded.server_id, version_id = excluded.version_id, heartbeat_at = clock_timestamp(), closed_at = null
where outlast.session.lost_at is null and outlast.session.environment_id = excluded.environment_id
returning id

-- name: beat
update outlast.session s set heartbeat_at = clock_timestamp(), vitals = coalesce(x.vitals, s.vitals)
from unnest(:sessions::text[], :vitals::text[]) as x (id, vitals)
where s.id = x.id and s.lost_at is null
returning s.id

-- name: close_session
-- The socket closed without goodbye: the worker has five seconds to come back.
update outlast.session set closed_at = clock_timestamp(), server_id = null
where id = :session::text and server_id = :server::text and lost_at is null

-- name: lose_session
-- A goodbye closes and ends it at one moment, by which it is told from a loss.
update outlast.session set lost_at = now(), closed_at = now() where id = :session::text and lost_at is null

-- name: lose
-- `good` seconds long this server saw the database accept heartbeats. What is older than that, nobody watched.
update outlast.session set lost_at = clock_timestamp()
where lost_at is null
  and (heartbeat_at < clock_timestamp() - make_interval(secs => :lease::double precision)
       and :good::double precision >= :lease::double precision
       or closed_at < clock_timestamp() - make_interval(secs => :grace::double precision)
       and (closed_at > clock_timestamp() - make_interval(secs => :good::double precision)
            or :good::double precision >= :lease::double precision))
returning id, environment_id

-- name: bury
-- A lost session goes when nothing is left of it, with the mail that nobody fetched.
with gone as (
  delete from outlast.session s
  where s.lost_at < clock_timestamp() - interval '1 minute'
    and not exists (select from outlast.run_state r where r.session_id = s.id)
  returning s.id
)
delete from outlast.mail m using gone g where m.session_id = g.id

-- name: left_behind
-- Runs that a lost session still holds: they are to be rescued, or were handed back with a goodbye.
select r.run_id, r.token, s.environment_id, coalesce(s.closed_at = s.lost_at, false) as handed_back
from outlast.session s join outlast.run_state r on r.session_id = s.id
where s.lost_at is not null
limit 5000

-- name: held
-- A claim younger than five seconds may still be on its way to the worker.
select run_id, token, status, cancel_at is not null as is_canceled,
  coalesce(entered_at < clock_timestamp() - interval '5 seconds', true) as is_settled
from outlast.run_state where session_id = :session::text

-- name: take_mail
delete from outlast.mail where session_id = any (:sessions::text[])
returning session_id, number, kind, run_id as run, token, data

-- name: needy
-- Environments with work for this server: due timers anywhere, ready runs where its workers are.
select distinct environment_id as id from outlast.timer
where due_at <= coalesce(:clock::timestamptz, clock_timestamp())
union
select distinct environment_id from outlast.queue
where environment_id = any (:environments::text[]) and queued > 0

-- name: current_versions
select id, current_version_id from outlast.environment where id = any (:environments::text[])

-- name: notify
select pg_notify('outlast', :payload::text)

-- name: milliseconds
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- name: absent_versions
select distinct l.environment_id, split_part(l.route, '/', 1) as version_id
from outlast.lane l
where l.queued > 0 and l.open and l.route not like 'current/%'
  and not exists (
    select from outlast.session s
    where s.environment_id = l.environment_id and s.lost_at is null
      and s.version_id = split_part(l.route, '/', 1))

-- name: overdue
-- From the sessions: what executes is found without looking at what is queued. Waits do not count.
select s.run_id, s.token, s.environment_id
from outlast.session x
join outlast.run_state s on s.session_id = x.id
cross join lateral (
  select id, max_duration from outlast.run r  -- by order, as in claims.sql
  where (r.environment_id, r.id) >= (s.environment_id, s.run_id)
  order by r.environment_id, r.id limit 1) r
where r.id = s.run_id and x.lost_at is null and s.status in ('dequeued', 'executing') and s.cancel_at is null
  and s.active_seconds - s.earlier_seconds + extract(epoch from clock_timestamp() - s.entered_at)
      > r.max_duration + :grace::double precision
