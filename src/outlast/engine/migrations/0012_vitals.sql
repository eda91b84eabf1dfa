-- breaking: no
-- How a worker's processes are, for people: `Vitals` as JSON, from its last heartbeat.

alter table outlast.session add column vitals text;
