-- A status that nobody knows would be exported as it stands; the database refuses it from now on.

alter table invoices
  add constraint invoice_status_is_known check (status in ('paid', 'open', 'void'));
