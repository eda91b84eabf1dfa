-- breaking: no
-- Waitpoints that people and partners complete: tokens.
select 1;
