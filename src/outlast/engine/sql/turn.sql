-- name: play
select kind, n, run, token, session, data from outlast_code.turn(
  :environment::text, :clock::timestamptz, :ends::json, :suspends::json, :wakes::json, :starts::json,
  :calls::json, :runs::json, :others::json, :pools::json, :homes::text[], :server::text)
