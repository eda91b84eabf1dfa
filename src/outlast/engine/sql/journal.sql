-- name: write
select n, run, token, outcome from outlast_code.journal(
  :steps::json, :deliveries::json, :lines::json, :tags::json)

-- name: operate
select outlast_code.operate(:items::json)
