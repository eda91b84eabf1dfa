-- name: list_variables
select name, ciphertext, is_secret, created_at, updated_at, updated_by from outlast.variable
where environment_id = :environment_id::text
order by name

-- name: find_variable
select name, ciphertext, is_secret, created_at, updated_at, updated_by from outlast.variable
where environment_id = :environment_id::text and name = :name::text

-- name: read_revision
select variables_revision from outlast.environment where id = :environment_id::text

-- name: raise_revision
-- Holds the environment's row: changes of its variables come one after another. Every server is told to look again.
with raised as (
  update outlast.environment set variables_revision = variables_revision + 1
  where id = :environment_id::text
  returning id
)
select pg_notify('outlast', '- keys:' || id)::text as told from raised

-- name: measure_variables
-- What stays besides the names that are about to be written.
select count(*) as variables, coalesce(sum(length(ciphertext)), 0)::bigint as bytes,
  coalesce(array_agg(name order by name) filter (where name = any (:names::text[])), '{}') as present
from outlast.variable
where environment_id = :environment_id::text

-- name: save_variables
-- A secret stays one whatever is written over it.
insert into outlast.variable as v (environment_id, name, ciphertext, is_secret, updated_by)
select :environment_id::text, w.name, w.ciphertext, :is_secret::boolean, :by::text
from unnest(:names::text[], :ciphertexts::bytea[]) as w (name, ciphertext)
order by w.name
on conflict (environment_id, name) do update
set ciphertext = excluded.ciphertext, is_secret = v.is_secret or excluded.is_secret,
  updated_by = excluded.updated_by, updated_at = clock_timestamp()

-- name: delete_variable
delete from outlast.variable where environment_id = :environment_id::text and name = :name::text

-- name: list_all_variables
select environment_id, name, ciphertext from outlast.variable

-- name: store_variable
-- Rewritten under the first encryption key, unless somebody changed the value meanwhile.
update outlast.variable set ciphertext = :ciphertext::bytea
where environment_id = :environment_id::text and name = :name::text and ciphertext = :before::bytea
