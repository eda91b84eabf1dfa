"""The connection pool of this process."""

from functools import cache

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.settings import settings


def connect(url: str, *, pool_size: int) -> AsyncEngine:
    """Return an engine for a plain `postgresql://` URL. It connects when first used."""
    return create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,  # a worker lives for days, and a database restarts
    )


@cache
def engine() -> AsyncEngine:
    """Return this process's engine, as the role that row-level security applies to."""
    return connect(settings().database_url, pool_size=settings().database_pool_size)
