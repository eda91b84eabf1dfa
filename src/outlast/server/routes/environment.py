"""What a key belongs to, and who works there."""

from fastapi import APIRouter, Request, Response

from outlast.engine.roster import workers
from outlast.protocol.bodies import EnvironmentBody, WorkerBody
from outlast.server.auth import authenticate
from outlast.server.services import services

router = APIRouter(prefix="/api/outlast/v1", tags=["environment"])


@router.get("/environment", response_model=EnvironmentBody)
async def environment(request: Request) -> Response:
    """Return the environment of the key, its current version and its workers."""
    caller = await authenticate(request)
    caller.require_whole("read")
    engine = services(request).engine
    offer = await engine.catalogue.offer(caller.environment.id, fresh=True)
    body = EnvironmentBody(
        id=caller.environment.id,
        slug=caller.environment.slug,
        project=caller.environment.project_ref,
        version=offer.version.name if offer is not None else None,
        workers=tuple(
            WorkerBody(
                session=worker.id,
                name=worker.name,
                host=worker.host,
                pid=worker.pid,
                version=worker.version,
                connected_at=worker.created_at,
            )
            for worker in await workers(engine.database, caller.environment.id)
        ),
    )
    return Response(body.to_json(), media_type="application/json")
