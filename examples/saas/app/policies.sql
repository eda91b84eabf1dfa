-- Row-level security: what the app's role may touch, and of which organization.
-- :app_role is filled in by scripts/migrate.py. Safe to run again.

create or replace function current_organization() returns uuid
language sql stable
as $$ select nullif(current_setting('app.organization_id', true), '')::uuid $$;

grant usage on schema public to :app_role;
grant select on organizations, users, members, invoices, email_suppressions to :app_role;
grant select, insert, update on exports to :app_role;
grant select, insert on audit_logs to :app_role;

alter table organizations enable row level security;
alter table users enable row level security;
alter table members enable row level security;
alter table invoices enable row level security;
alter table exports enable row level security;
alter table audit_logs enable row level security;

drop policy if exists organizations_of_tenant on organizations;
create policy organizations_of_tenant on organizations
  using (id = current_organization());

drop policy if exists members_of_tenant on members;
create policy members_of_tenant on members
  using (organization_id = current_organization());

-- `members` is itself filtered, so this reads "is a member of the current organization".
drop policy if exists users_of_tenant on users;
create policy users_of_tenant on users
  using (exists (select from members where members.user_id = users.id));

drop policy if exists invoices_of_tenant on invoices;
create policy invoices_of_tenant on invoices
  using (organization_id = current_organization());

drop policy if exists exports_of_tenant on exports;
create policy exports_of_tenant on exports
  using (organization_id = current_organization())
  with check (organization_id = current_organization());

drop policy if exists audit_logs_of_tenant on audit_logs;
create policy audit_logs_of_tenant on audit_logs
  using (organization_id = current_organization())
  with check (organization_id = current_organization());
