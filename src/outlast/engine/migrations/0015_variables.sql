-- breaking: no
-- Raised by every change of an environment's variables, so that workers notice: engine/variables.py.

alter table outlast.environment add column variables_revision bigint not null default 0;
