"""What a key belongs to, and who works there."""

from collections import Counter

import msgspec
from fastapi import APIRouter, Request, Response

from outlast.engine.roster import Worker, workers
from outlast.protocol.bodies import EnvironmentBody, ProcessBody, SlotsBody, WorkerBody
from outlast.protocol.vitals import Vitals
from outlast.server.auth import authenticate
from outlast.server.contract import READ_ALL, promise
from outlast.server.services import services

router = APIRouter(prefix="/api/outlast/v1", tags=["environment"])

_vitals = msgspec.json.Decoder(Vitals)


@router.get("/environment", response_model=EnvironmentBody, **promise(READ_ALL))
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
            _worker(worker) for worker in await workers(engine.database, caller.environment.id)
        ),
    )
    return Response(body.to_json(), media_type="application/json")


def _worker(worker: Worker) -> WorkerBody:
    vitals = Vitals() if worker.vitals is None else _vitals.decode(worker.vitals)
    used = Counter[str]()
    for process in vitals.processes:
        used[process.kind] += process.executing
    return WorkerBody(
        session=worker.id,
        name=worker.name,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        connected_at=worker.created_at,
        seen_at=worker.heartbeat_at,
        slots=tuple(
            SlotsBody(kind=kind, used=used[kind], total=total)
            for kind, total in vitals.capacity.items()
            if total or used[kind]
        ),
        processes=tuple(
            ProcessBody(
                pid=process.pid,
                kind=process.kind,
                executing=process.executing,
                parked=process.parked,
                memory=process.memory,
                blocked=process.blocked,
            )
            for process in vitals.processes
        ),
    )
