-- name: insert_key
insert into outlast.api_key (hash, id, environment_id, kind, name, ciphertext)
values (:hash::bytea, :id::text, :environment_id::text, :kind::text, :name::text, :ciphertext::bytea)

-- name: lock_environment
select slug from outlast.environment where id = :environment_id::text for no key update

-- name: retire_root_keys
-- A grace period is never made longer than it was.
update outlast.api_key
set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => :grace::double precision))
where environment_id = :environment_id::text and kind = 'root'

-- name: list_root_keys
-- Newest first: the first one signs, all check.
select id, ciphertext from outlast.api_key
where environment_id = :environment_id::text and kind = 'root'
  and (expires_at is null or expires_at > clock_timestamp())
order by expires_at is not null, id desc

-- name: list_keys
select id, kind, name, created_at, expires_at from outlast.api_key
where environment_id = :environment_id::text
  and (expires_at is null or expires_at > clock_timestamp())
order by id

-- name: delete_additional_key
delete from outlast.api_key
where environment_id = :environment_id::text and id = :id::text and kind = 'additional'

-- name: spend_token
insert into outlast.used_token (hash, expires_at)
values (:hash::bytea, to_timestamp(:expires_at::double precision))
on conflict do nothing

-- name: prune_used_tokens
-- The leeway after a token's end is over as well.
delete from outlast.used_token where expires_at < clock_timestamp() - interval '5 minutes'
