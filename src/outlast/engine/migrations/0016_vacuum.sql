-- breaking: no
-- Vacuum must not shorten what retention empties: it would lock the whole table, and new rows take the room anyway.
alter table outlast.run set (vacuum_truncate = off);
alter table outlast.run_end set (vacuum_truncate = off);
alter table outlast.entry set (vacuum_truncate = off);
alter table outlast.delivery set (vacuum_truncate = off);
alter table outlast.log set (vacuum_truncate = off);
alter table outlast.event set (vacuum_truncate = off);
alter table outlast.tag set (vacuum_truncate = off);
alter table outlast.blob set (vacuum_truncate = off);
alter table outlast.request set (vacuum_truncate = off);
alter table outlast.idempotency set (vacuum_truncate = off);
alter table outlast.stream_chunk set (vacuum_truncate = off);
