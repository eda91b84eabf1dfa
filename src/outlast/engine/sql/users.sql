-- name: insert_account
insert into outlast.account (id, name, role, password)
values (:id::text, :name::text, :role::text, :password::text)
on conflict (name) do nothing
returning id, name, role, created_at

-- name: list_accounts
select id, name, role, created_at from outlast.account order by name

-- name: find_account
select id, name, role, created_at from outlast.account where name = :name::text

-- name: change_account
-- A new password ends what older ones opened, see `end_sign_ins`.
update outlast.account
set role = coalesce(:role::text, role), password = coalesce(:password::text, password), failures = 0
where name = :name::text
returning id, name, role, created_at

-- name: delete_account
delete from outlast.account where name = :name::text

-- name: find_password
-- Ten wrong ones in a row close the door for five minutes.
select id, password, failures >= 10 and failed_at > clock_timestamp() - interval '5 minutes' as closed
from outlast.account where name = :name::text and password is not null

-- name: note_failure
update outlast.account
set failures = case when failed_at > clock_timestamp() - interval '5 minutes' then failures + 1 else 1 end,
    failed_at = clock_timestamp()
where id = :id::text

-- name: insert_link
insert into outlast.login_link (hash, account_id, expires_at)
values (:hash::bytea, :account_id::text, clock_timestamp() + make_interval(secs => :seconds::double precision))

-- name: take_link
delete from outlast.login_link where hash = :hash::bytea
returning account_id as id, expires_at > clock_timestamp() as is_valid

-- name: insert_sign_in
with forgotten as (
  update outlast.account set failures = 0 where id = :account_id::text and failures > 0
)
insert into outlast.sign_in (hash, account_id, expires_at)
values (:hash::bytea, :account_id::text, clock_timestamp() + make_interval(secs => :seconds::double precision))

-- name: find_sign_in
select a.id, a.name, a.role, a.created_at
from outlast.sign_in s join outlast.account a on a.id = s.account_id
where s.hash = :hash::bytea and s.expires_at > clock_timestamp()

-- name: end_sign_in
delete from outlast.sign_in where hash = :hash::bytea

-- name: end_sign_ins
delete from outlast.sign_in where account_id = :account_id::text

-- name: prune_sign_ins
with links as (delete from outlast.login_link where expires_at < clock_timestamp()),
  tokens as (delete from outlast.personal_token where expires_at < clock_timestamp())
delete from outlast.sign_in where expires_at < clock_timestamp()

-- name: insert_deed
insert into outlast.deed (account, environment_id, action, target, outcome)
values (:account::text, :environment_id::text, :action::text, :target::text, :outcome::text)

-- name: list_deeds
-- Newest first; what belongs to no environment is seen in all.
select id, at, account, action, target, outcome from outlast.deed
where (environment_id = :environment_id::text or environment_id is null)
  and (:before::bigint is null or id < :before::bigint)
order by id desc
limit :limit::int
