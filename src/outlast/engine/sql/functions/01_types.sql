-- What a turn takes and what it tells. Arguments travel as JSON arrays of these records.

create type new_run as (
  n int, call int, item int,  -- answer slot; the call (index) and its item when a task asked
  run text, task text, queue text, concurrency_key text, executor text, route text,
  payload text, payload_type text, payload_blob text, metadata text, tags text[],
  parent text, root text, depth int, trigger_function text, batch text,
  idempotency_key text, idempotency_shown text, idempotency_scope text, idempotency_ttl double precision,
  request_key text, delay double precision, delay_until double precision, ttl double precision,
  priority double precision, retry text, max_duration double precision, machine text, version_pin text,
  is_test boolean, replayed_from text, schedule text, trace_context text, seed text, retried boolean,
  fairness_group text, parked boolean,  -- parked: no version declares its task and queue yet
  debounce_key text, debounce_delay double precision, debounce_most double precision, debounce_trailing boolean,
  spend text, spend_until double precision  -- hash of a one-time token, and when it expires
);

create type pushing as (target text, item new_run);  -- a trigger that pushes a delayed run back

create type new_call as (
  n int, run text, token bigint, key text, kind text, name text, position bigint, arguments text, preview text,
  seconds double precision, until double precision, timeout double precision,
  batch text, size int, tasks text[], outcome text, refusals text, attempt int,
  target text, idempotency_key text, idempotency_ttl double precision  -- the token; a wait's key
);

create type ending as (
  n int, run text, token bigint, status text, output text, error text, retry_in double precision, forget text[],
  machine text
);

create type suspension as (n int, run text, token bigint, keys text[]);
create type holding as (n int, run text, token bigint);
create type rescuing as (run text, token bigint, suspect text);  -- suspect: the crash it was in
create type cancellation as (n int, run text, reason text);

-- Runs that come (back) to their lanes. `fresh`: the claim begins a new attempt.
create type entering as (
  run text, rank smallint, at timestamptz, fresh boolean, home text, home_until timestamptz
);

-- Entries that get their outcome.
create type finish as (run text, key text, outcome text);

-- A lane that may be claimed from, with what its queue allows.
create type head as (
  id bigint, queue text, key text, vtime double precision, running int, fairness_group text, lim int, queue_room int,
  rate_interval double precision, rate_burst int, rate_per_key boolean,
  siblings bigint  -- lanes that share its share
);

create type pick as (
  run text, spot tid,  -- where its ready row lies
  session text, home text, lane bigint, rank smallint, at timestamptz, fresh boolean,
  tag double precision,  -- where the pick stands in virtual time
  place double precision  -- where its lane stands after it
);

-- kind: created, called, stale, held, result, cancel, drop, claim, ended, left, due, more
create type told as (kind text, n int, run text, token bigint, session text, data text);
