-- name: insert_key
insert into outlast.api_key (hash, id, environment_id, kind, name, ciphertext, expires_at)
values (:hash::bytea, :id::text, :environment_id::text, :kind::text, :name::text, :ciphertext::bytea,
        clock_timestamp() + make_interval(secs => :seconds::double precision))

-- name: lock_environment
select slug from outlast.environment where id = :environment_id::text for no key update

-- name: retire_root_keys
-- A grace period is never made longer than it was. Every server is told to look again.
with retired as (
  update outlast.api_key
  set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => :grace::double precision))
  where environment_id = :environment_id::text and kind = 'root'
)
select pg_notify('outlast', '- keys:' || :environment_id::text)::text as told

-- name: list_root_keys
-- Newest first: the first one signs, all check.
select id, ciphertext from outlast.api_key
where environment_id = :environment_id::text and kind = 'root'
  and (expires_at is null or expires_at > clock_timestamp())
order by expires_at is not null, id desc

-- name: list_keys
select id, kind, name, created_at, expires_at, last_used_at from outlast.api_key
where environment_id = :environment_id::text
  and (expires_at is null or expires_at > clock_timestamp())
order by id

-- name: delete_additional_key
-- Every server is told to forget it.
with deleted as (
  delete from outlast.api_key
  where environment_id = :environment_id::text and id = :id::text and kind = 'additional'
  returning environment_id
)
select pg_notify('outlast', '- keys:' || environment_id)::text as told from deleted

-- name: store_ciphertext
-- Rewritten under the first encryption key, unless the key was rotated away meanwhile.
update outlast.api_key set ciphertext = :ciphertext::bytea
where id = :id::text and ciphertext = :before::bytea

-- name: list_ciphertexts
select id, ciphertext from outlast.api_key where ciphertext is not null

-- name: spend_token
-- The same request may come again: its answer was lost.
insert into outlast.used_token as t (hash, expires_at, spender)
values (:hash::bytea, to_timestamp(:expires_at::double precision), :spender::text)
on conflict (hash) do update set spender = excluded.spender
  where t.spender <> '' and t.spender = excluded.spender
returning true

-- name: prune_used_tokens
-- The leeway after a token's end is over as well.
delete from outlast.used_token where hash in (
  select hash from outlast.used_token
  where expires_at < clock_timestamp() - interval '5 minutes' order by expires_at limit :portion::int)
