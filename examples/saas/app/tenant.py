"""The one way to tenant data: a transaction that sees a single organization."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import engine


@asynccontextmanager
async def tenant_db(organization_id: UUID) -> AsyncIterator[AsyncSession]:
    """Open a transaction in which PostgreSQL shows the rows of `organization_id` only.

    The setting ends with the transaction, so a pooled connection takes no tenant to its next user.
    Commits on the way out, rolls back on an error.
    """
    async with AsyncSession(engine(), expire_on_commit=False) as session, session.begin():
        await session.execute(
            select(func.set_config("app.organization_id", str(organization_id), True))
        )
        yield session
