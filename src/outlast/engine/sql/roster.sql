-- name: list_workers
-- Who works in an environment now, on whichever server; a socket that closed may come back.
select s.id, s.name, s.host, s.pid, v.name as version, s.created_at, s.heartbeat_at, s.vitals
from outlast.session s join outlast.version v on v.id = s.version_id
where s.environment_id = :environment::text and s.lost_at is null and s.closed_at is null
order by s.created_at, s.id limit 1000
