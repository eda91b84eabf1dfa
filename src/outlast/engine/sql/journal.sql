-- name: write
select n, run, token, outcome from outlast_code.journal(
  :steps::json, :deliveries::json, :lines::json, :tags::json)

-- name: operate
select outlast_code.operate(:items::json)

-- name: read_metadata
select coalesce(m.value::text, r.metadata, '{}')
from outlast.run_state s
join outlast.run r on r.environment_id = s.environment_id and r.id = s.run_id
left join outlast.metadata m on m.run_id = s.run_id
where s.run_id = :run::text
