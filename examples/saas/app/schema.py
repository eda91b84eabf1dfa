"""The tables as Python sees them. Every row of a tenant names its organization.

`migrations/` makes and changes them, `policies.sql` says who sees which rows; a test compares.
"""

from datetime import date, datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Maps Python types to the PostgreSQL types that we want."""

    type_annotation_map: ClassVar = {str: Text(), datetime: TIMESTAMP(timezone=True)}


class Organization(Base):
    """A tenant. Its id travels in every payload; the slug is for people."""

    __tablename__ = "organizations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]


class User(Base):
    """A person, who may belong to several organizations."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


class Member(Base):
    """A user's place in an organization."""

    __tablename__ = "members"
    __table_args__ = (CheckConstraint("role in ('owner', 'member')", name="member_role_is_known"),)

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str]


class Invoice(Base):
    """One invoice. Numbers count up per organization; pages of an export follow them."""

    __tablename__ = "invoices"
    __table_args__ = (
        UniqueConstraint("organization_id", "number", name="invoice_number_once_per_organization"),
        CheckConstraint("status in ('paid', 'open', 'void')", name="invoice_status_is_known"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    number: Mapped[int]
    customer: Mapped[str]
    description: Mapped[str]
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str]
    issued_on: Mapped[date]
    due_on: Mapped[date]


class Export(Base):
    """The app's own note of an export: one per organization, user and day.

    What the run is doing right now is the platform's to say; `run_id` is the reference to it.
    """

    __tablename__ = "exports"
    __table_args__ = (
        UniqueConstraint("organization_id", "requested_by", "day_bucket", name="export_once_a_day"),
        CheckConstraint(
            "status in ('requested', 'completed', 'failed')", name="export_status_is_known"
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    requested_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(server_default="requested")
    run_id: Mapped[str | None]
    row_count: Mapped[int | None]
    idempotency_key: Mapped[str]
    day_bucket: Mapped[str]
    pages_done: Mapped[int] = mapped_column(server_default="0")
    pages_total: Mapped[int | None]
    download_url: Mapped[str | None]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]


class AuditLog(Base):
    """Who did what; nobody is the program itself. Appended to, never changed."""

    __tablename__ = "audit_logs"
    __table_args__ = (
        UniqueConstraint(
            "organization_id", "run_id", "action", "subject", name="audit_once_per_run"
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str]
    subject: Mapped[str]
    run_id: Mapped[str | None]
    data: Mapped[dict[str, object]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PlanEntitlement(Base):
    """What an organization may use: what the payment provider says, as far as we have heard."""

    __tablename__ = "plan_entitlements"
    __table_args__ = (
        CheckConstraint(
            "status in ('trialing', 'active', 'past_due', 'canceled')",
            name="entitlement_status_is_known",
        ),
    )

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(unique=True)
    plan: Mapped[str]
    status: Mapped[str]
    trial_ends_at: Mapped[datetime | None]
    last_event_at: Mapped[datetime]


class Invitation(Base):
    """Somebody who was asked to join. `sent_at` is empty when the mail did not go out."""

    __tablename__ = "invitations"
    __table_args__ = (UniqueConstraint("organization_id", "email", name="invited_once"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    email: Mapped[str]
    invited_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    sent_at: Mapped[datetime | None]


class Refund(Base):
    """Money that somebody wants back: one per invoice, decided by an owner."""

    __tablename__ = "refunds"
    __table_args__ = (
        UniqueConstraint("organization_id", "invoice_number", name="refund_once_per_invoice"),
        CheckConstraint(
            "status in ('requested', 'refunded', 'refused', 'expired')",
            name="refund_status_is_known",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    invoice_number: Mapped[int]
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    requested_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(server_default="requested")
    token_id: Mapped[str | None]
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Notification(Base):
    """An entry of somebody's inbox. An event reaches a person once, however often it is sent."""

    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("event_id", "user_id", name="notified_once_per_event"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    event_id: Mapped[UUID]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EmailSuppression(Base):
    """An address that must get no mail: it bounced, or its owner said so."""

    __tablename__ = "email_suppressions"

    email: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
