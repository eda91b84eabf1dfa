-- One-time tokens: used up in the commit that creates their run, exactly once across servers.

-- The first request of a token has it; the same request heard again (its answer was lost) is not a second use.
create function spend(env text, items new_run[], out good new_run[], out late new_run[], out spent int[])
language plpgsql as $$
declare
  won bytea[];
begin
  with wanted as (
    select distinct on (i.spend) decode(i.spend, 'hex') as hash, i.spend_until, spender(i) as spender
    from unnest(items) i
    where i.spend is not null and not was_requested(env, i)
    order by i.spend, i.n
  ), used as (
    insert into outlast.used_token (hash, expires_at, spender)
    select w.hash, to_timestamp(w.spend_until), w.spender from wanted w
    on conflict do nothing returning hash
  )
  select array_agg(hash) into won from used;
  with judged as (
    select i, i.n, u.spender = spender(i) as ours, decode(i.spend, 'hex') = any (won) as first
    from unnest(items) i
    left join lateral (select t.spender from outlast.used_token t where t.hash = decode(i.spend, 'hex') limit 1) u on true
    where i.spend is not null and not was_requested(env, i)
  )
  select
    (select array_agg(i order by i.n) from unnest(items) i
     where not exists (select from judged j where j.n = i.n and j.ours is not true)),
    (select array_agg(j.i) from judged j where j.ours and j.first is not true),
    (select array_agg(j.n) from judged j where j.ours is not true)
  into good, late, spent;
end $$;

create function spender(item new_run) returns text language sql immutable as $$
  select coalesce(item.request_key, item.run)
$$;

create function was_requested(env text, item new_run) returns boolean language sql stable as $$
  select exists (select from outlast.request r where r.environment_id = env and r.key = item.request_key)
    or coalesce(item.retried, false) and exists (
      select from outlast.run r where r.environment_id = env and r.id = item.run)
$$;
