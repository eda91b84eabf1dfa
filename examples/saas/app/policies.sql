-- Row-level security: what the app's role may touch, and of which organization.
-- :app_role is filled in by scripts/migrate.py. Safe to run again.

create or replace function current_organization() returns uuid
language sql stable
as $$ select nullif(current_setting('app.organization_id', true), '')::uuid $$;

grant usage on schema public to :app_role;
grant select on organizations, users, members, email_suppressions to :app_role;
grant select, insert on invoices, audit_logs, notifications to :app_role;
grant select, insert, update on invitations, refunds to :app_role;
grant select, insert, update, delete on exports to :app_role;
grant select, update on plan_entitlements to :app_role;

alter table organizations enable row level security;
drop policy if exists of_tenant on organizations;
create policy of_tenant on organizations
  using (id = current_organization());

-- `members` is itself filtered, so this reads "is a member of the current organization".
alter table users enable row level security;
drop policy if exists of_tenant on users;
create policy of_tenant on users
  using (exists (select from members where members.user_id = users.id));

-- The rest of a tenant's tables name their organization. Without `with check` the same holds for
-- what is written.
do $$
declare
  name text;
begin
  foreach name in array array[
    'members', 'invoices', 'exports', 'audit_logs', 'plan_entitlements', 'invitations', 'refunds',
    'notifications'
  ] loop
    execute format('alter table %I enable row level security', name);
    execute format('drop policy if exists of_tenant on %I', name);
    execute format(
      'create policy of_tenant on %I using (organization_id = current_organization())', name);
  end loop;
end $$;

-- The doors in the wall: what must be asked before, or across, tenants. Each runs as the owner and
-- answers one question; app/crossings.py is the only caller.

create or replace function find_login(address text)
returns table (user_id text, password_hash text)
language sql stable security definer set search_path = public, pg_temp
as $$ select id, password_hash from users where email = lower(address) $$;

create or replace function find_memberships(of_user text)
returns table (organization_id uuid, slug text, name text, role text)
language sql stable security definer set search_path = public, pg_temp
as $$
  select o.id, o.slug, o.name, m.role
  from members m join organizations o on o.id = m.organization_id
  where m.user_id = of_user
  order by o.name
$$;

create or replace function find_organization_of_customer(customer text) returns uuid
language sql stable security definer set search_path = public, pg_temp
as $$ select organization_id from plan_entitlements where customer_id = customer $$;

create or replace function find_silent_organizations(since timestamptz) returns setof uuid
language sql stable security definer set search_path = public, pg_temp
as $$
  select organization_id from plan_entitlements where last_event_at < since order by organization_id
$$;

-- The predicate is what makes it safe to run twice: the second time it finds none.
create or replace function expire_trials(as_of timestamptz) returns setof uuid
language sql security definer set search_path = public, pg_temp
as $$
  update plan_entitlements set status = 'past_due'
  where status = 'trialing' and trial_ends_at < as_of
  returning organization_id
$$;

revoke execute on function
  find_login(text), find_memberships(text), find_organization_of_customer(text),
  find_silent_organizations(timestamptz), expire_trials(timestamptz)
from public;
grant execute on function
  find_login(text), find_memberships(text), find_organization_of_customer(text),
  find_silent_organizations(timestamptz), expire_trials(timestamptz)
to :app_role;
