-- breaking: no
-- Access: keys, tokens, users, limits.
select 1;
