"""Whether the server lives, and whether it wants traffic."""

import asyncio

from fastapi import APIRouter, Request

from outlast.server.contract import OPEN, promise
from outlast.server.problems import Problem
from outlast.server.services import services

READY_SECONDS = 2.0

router = APIRouter(tags=["health"])


@router.get("/healthz", **promise(OPEN))
async def healthz() -> dict[str, bool]:
    """Answer as long as the process turns."""
    return {"ok": True}


@router.get("/readyz", **promise(OPEN, fails=(503,)))
async def readyz(request: Request) -> dict[str, bool]:
    """Answer 200 when the database answers and the server is not stopping, else 503."""
    found = services(request)
    if found.stopping.is_set():
        raise Problem(503, "stopping", "this server stops")
    try:
        async with asyncio.timeout(READY_SECONDS):
            await found.engine.ready()
    except TimeoutError:
        raise Problem(503, "database_unavailable", "the database does not answer") from None
    return {"ok": True}
