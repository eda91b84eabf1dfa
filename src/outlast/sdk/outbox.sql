-- The outbox of an app: runs that were asked for in its own transactions and are not delivered yet.
-- It belongs into the app's database, beside the tables that its transactions write.
create table if not exists outlast_outbox (
  number bigint generated always as identity primary key,
  body text not null,  -- the trigger as JSON; its request key makes a second delivery harmless
  created_at timestamptz not null default now(),
  next_at timestamptz not null default now(),  -- not tried before
  attempts integer not null default 0,
  error text  -- why the last attempt failed
);
comment on table outlast_outbox is 'Runs asked for in transactions of this database; `outlast outbox relay` delivers them.';

-- What each side needs, and no more:
--   grant insert on outlast_outbox to the_app;
--   grant select, update, delete on outlast_outbox to the_relay;
