-- name: revise
select answer, value from outlast_code.revise(:environment_id::text, :run_id::text, :items::json)

-- name: add_tags
select outlast_code.add_tags(:run_id::text, :tags::text[])

-- name: list_lines
-- Everything a run said in the order it arrived: pages of a run that goes on miss nothing.
select number, at, level, message, attempt, kind, span, parent, attributes from outlast.log
where run_id = :run_id::text and number > :after::bigint
order by number limit :limit::int
