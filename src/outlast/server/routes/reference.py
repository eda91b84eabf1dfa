"""The document of the whole HTTP API, for programs; the dashboard makes a page of it for people."""

from fastapi import APIRouter, Request, Response

from outlast.server.contract import JSON, OPEN, answer, promise
from outlast.server.openapi import OPENAPI_PATH, Document

router = APIRouter(tags=["health"])


@router.get(OPENAPI_PATH, **promise(OPEN, answers={200: answer("OpenAPI 3.1", {"type": "object"})}))
async def openapi(request: Request) -> Response:
    """Return this document."""
    found: Document = request.app.state.document
    return Response(await found.text(), media_type=JSON)
