-- breaking: no
-- Deployments, environment variables, packets.
select 1;
