"""The five questions that are asked before there is a tenant, or across all of them.

Everything else goes through `tenant_db`. Each question is a function in `policies.sql` that runs
as the owner, so that the app's role itself never sees two tenants at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.db import engine


@dataclass(frozen=True, slots=True)
class Membership:
    """An organization that a user belongs to, and as what."""

    organization_id: UUID
    slug: str
    name: str
    role: str

    @property
    def is_owner(self) -> bool:
        """Whether the user decides for the organization."""
        return self.role == "owner"


async def find_login(email: str) -> tuple[str, str] | None:
    """Return the id and the password's hash of the user with this address."""
    rows = await _rows("select * from find_login(:email)", email=email)
    return (rows[0].user_id, rows[0].password_hash) if rows else None


async def find_memberships(user_id: str) -> list[Membership]:
    """Return every organization of a user."""
    rows = await _rows("select * from find_memberships(:user_id)", user_id=user_id)
    return [Membership(row.organization_id, row.slug, row.name, row.role) for row in rows]


async def find_organization_of_customer(customer_id: str) -> UUID | None:
    """Return whose customer number at the payment provider this is."""
    rows = await _rows("select find_organization_of_customer(:id) as id", id=customer_id)
    return rows[0].id if rows else None


async def find_silent_organizations(since: datetime) -> list[UUID]:
    """Return the organizations of which the payment provider has told nothing since then."""
    rows = await _rows("select find_silent_organizations(:since) as id", since=since)
    return [row.id for row in rows]


async def expire_trials(as_of: datetime) -> list[UUID]:
    """End the trials that are over, and return whose. A second call finds none."""
    rows = await _rows("select expire_trials(:as_of) as id", as_of=as_of)
    return [row.id for row in rows]


async def _rows(query: str, **values: object) -> Sequence[Row[Any]]:
    async with engine().begin() as connection:
        return (await connection.execute(text(query), values)).all()
