-- name: play
select kind, n, run, token, session, data from outlast_code.turn(
  :environment::text, :clock::timestamptz, :ends::json, :suspends::json, :wakes::json, :rescues::json,
  :gones::json, :starts::json, :cancels::json,  :resumes::json, :frees::json, :overtimes::json, :calls::json, :runs::json, :pools::json,
  :homes::text[], :server::text)
