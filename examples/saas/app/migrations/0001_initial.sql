-- The tables, as app/schema.py maps them. Who may see which rows stands in app/policies.sql.

create table organizations (
  id uuid not null,
  slug text not null,
  name text not null,
  primary key (id),
  unique (slug)
);

create table users (
  id text not null,
  name text not null,
  email text not null,
  password_hash text not null,
  primary key (id),
  unique (email)
);

create table members (
  organization_id uuid not null,
  user_id text not null,
  role text not null,
  primary key (organization_id, user_id),
  constraint member_role_is_known check (role in ('owner', 'member')),
  foreign key (organization_id) references organizations (id),
  foreign key (user_id) references users (id)
);

create table invoices (
  id uuid not null,
  organization_id uuid not null,
  number integer not null,
  customer text not null,
  description text not null,
  amount_cents bigint not null,
  currency text not null,
  status text not null,
  issued_on date not null,
  due_on date not null,
  primary key (id),
  constraint invoice_number_once_per_organization unique (organization_id, number),
  foreign key (organization_id) references organizations (id)
);

create table exports (
  id uuid default gen_random_uuid() not null,
  organization_id uuid not null,
  requested_by text not null,
  status text default 'requested' not null,
  run_id text,
  row_count integer,
  idempotency_key text not null,
  day_bucket text not null,
  pages_done integer default 0 not null,
  pages_total integer,
  download_url text,
  requested_at timestamptz default now() not null,
  completed_at timestamptz,
  primary key (id),
  constraint export_once_a_day unique (organization_id, requested_by, day_bucket),
  constraint export_status_is_known check (status in ('requested', 'completed', 'failed')),
  foreign key (organization_id) references organizations (id),
  foreign key (requested_by) references users (id)
);

create table audit_logs (
  id uuid default gen_random_uuid() not null,
  organization_id uuid not null,
  actor_id text,
  action text not null,
  subject text not null,
  run_id text,
  data jsonb default '{}' not null,
  created_at timestamptz default now() not null,
  primary key (id),
  constraint audit_once_per_run unique (organization_id, run_id, action, subject),
  foreign key (organization_id) references organizations (id),
  foreign key (actor_id) references users (id)
);

create table plan_entitlements (
  organization_id uuid not null,
  customer_id text not null,
  plan text not null,
  status text not null,
  trial_ends_at timestamptz,
  last_event_at timestamptz not null,
  primary key (organization_id),
  constraint entitlement_status_is_known check (status in ('trialing', 'active', 'past_due', 'canceled')),
  foreign key (organization_id) references organizations (id),
  unique (customer_id)
);

create table invitations (
  id uuid default gen_random_uuid() not null,
  organization_id uuid not null,
  email text not null,
  invited_by text not null,
  sent_at timestamptz,
  primary key (id),
  constraint invited_once unique (organization_id, email),
  foreign key (organization_id) references organizations (id),
  foreign key (invited_by) references users (id)
);

create table refunds (
  id uuid default gen_random_uuid() not null,
  organization_id uuid not null,
  invoice_number integer not null,
  amount_cents bigint not null,
  requested_by text not null,
  status text default 'requested' not null,
  token_id text,
  decided_by text,
  requested_at timestamptz default now() not null,
  primary key (id),
  constraint refund_once_per_invoice unique (organization_id, invoice_number),
  constraint refund_status_is_known check (status in ('requested', 'refunded', 'refused', 'expired')),
  foreign key (organization_id) references organizations (id),
  foreign key (requested_by) references users (id),
  foreign key (decided_by) references users (id)
);

create table notifications (
  id uuid default gen_random_uuid() not null,
  organization_id uuid not null,
  event_id uuid not null,
  user_id text not null,
  text text not null,
  created_at timestamptz default now() not null,
  primary key (id),
  constraint notified_once_per_event unique (event_id, user_id),
  foreign key (organization_id) references organizations (id),
  foreign key (user_id) references users (id)
);

create table email_suppressions (
  email text not null,
  reason text not null,
  created_at timestamptz default now() not null,
  primary key (email)
);
