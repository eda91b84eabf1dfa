"""The export over HTTP: starting it, watching it, fetching its file."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from outlast import runs

from app.exports.files import export_path
from app.exports.start import start_export
from app.queries.recent import find_export
from app.result import Err
from app.runs import retrieve_run
from app.tenant import tenant_db
from app.web.session import Caller, SignedIn

router = APIRouter()
STREAM_SECONDS = 120.0
"""Then the browser connects anew, and who looks is asked for again."""
STATUS = {"forbidden": 403, "refused": 422, "unavailable": 503}


@router.post("/api/exports")
async def start(caller: Caller) -> Response:
    """Start today's export. Answers in milliseconds with the run; the worker does the rest."""
    answer = await start_export(caller.user_id, caller.organization_id)
    if isinstance(answer, Err):
        return JSONResponse({"error": answer.message}, STATUS[answer.code])
    return JSONResponse({"runId": answer.value.run_id, "isNew": answer.value.is_new}, 202)


@router.get("/api/exports/{run_id}")
async def state(run_id: str, caller: Caller) -> dict[str, object]:
    """Tell how far a run is: what the page polls when it cannot follow."""
    return await _state(run_id, caller)


@router.get("/api/exports/{run_id}/events")
async def follow(run_id: str, caller: Caller) -> Response:
    """Tell how far a run is whenever that changes, as server-sent events, until it ends.

    A browser that is told no end comes back by itself.
    """
    first = await _state(run_id, caller)

    async def events() -> AsyncIterator[str]:
        yield _event(first)
        until = time.monotonic() + STREAM_SECONDS
        changes = runs.subscribe(run_id, skip=("payload", "output"))
        # HTTPException: the export has been forgotten meanwhile
        with suppress(StopAsyncIteration, TimeoutError, HTTPException):
            while True:
                await asyncio.wait_for(anext(changes), until - time.monotonic())
                yield _event(await _state(run_id, caller))

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@router.get("/exports/{run_id}.csv")
async def download(run_id: str, caller: Caller) -> Response:
    """Send the finished file, to members of the organization whose it is."""
    await _own(run_id, caller)
    path = export_path(run_id)
    if not path.is_file():
        raise HTTPException(404, "this export has no file yet")
    return FileResponse(path, media_type="text/csv", filename=f"invoices-{run_id}.csv")


async def _state(run_id: str, caller: SignedIn) -> dict[str, object]:
    download_url = await _own(run_id, caller)
    run = await retrieve_run(run_id)
    return {
        "runId": run.id,
        "status": run.status,
        "attemptCount": run.attempt_count,
        "pagesDone": run.pages_done,
        "pagesTotal": run.pages_total,
        "isCompleted": run.is_completed,
        "isSuccess": run.is_success,
        "error": run.error,
        "mailed": run.mailed,
        "downloadUrl": download_url,
    }


async def _own(run_id: str, caller: SignedIn) -> str | None:
    """Return the export's link. A run's id is no secret, so only the tenant's own are answered."""
    async with tenant_db(caller.organization_id) as session:
        export = await find_export(session, run_id)
    if export is None:
        raise HTTPException(404, "there is no such export")
    return export.download_url


def _event(told: dict[str, object]) -> str:
    return f"data: {json.dumps(told)}\n\n"
