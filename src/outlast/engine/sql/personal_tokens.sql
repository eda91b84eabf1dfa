-- name: insert_personal_token
insert into outlast.personal_token (hash, id, account_id, name, expires_at)
select :hash::bytea, :id::text, a.id, :name::text,
  clock_timestamp() + make_interval(secs => :seconds::double precision)
from outlast.account a where a.name = :account::text
returning id

-- name: list_personal_tokens
select t.id, t.name, t.created_at, t.expires_at, t.last_used_at
from outlast.personal_token t join outlast.account a on a.id = t.account_id
where a.name = :account::text and (t.expires_at is null or t.expires_at > clock_timestamp())
order by t.created_at, t.id

-- name: delete_personal_token
delete from outlast.personal_token t using outlast.account a
where t.id = :id::text and a.id = t.account_id and a.name = :account::text

-- name: find_personal_token
-- When a token was used is noted once a minute.
with used as (
  update outlast.personal_token set last_used_at = clock_timestamp()
  where hash = :hash::bytea and (expires_at is null or expires_at > clock_timestamp())
    and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')
)
select t.hash, t.id as token_id, a.id as account_id, a.name as account, a.role
from outlast.personal_token t join outlast.account a on a.id = t.account_id
where t.hash = :hash::bytea and (t.expires_at is null or t.expires_at > clock_timestamp())
