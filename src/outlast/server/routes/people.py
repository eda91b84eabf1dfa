"""Who holds a personal token."""

import re

from fastapi import APIRouter, Request, Response

from outlast.protocol.keeping import WhoAmI
from outlast.server.auth import authenticate_person
from outlast.server.contract import PERSON, promise
from outlast.server.services import services

router = APIRouter(tags=["people"])

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_NOT_IN_ADDRESSES = re.compile(r"[^A-Za-z0-9._-]+")


@router.get("/api/v2/whoami", response_model=WhoAmI, **promise(PERSON))
async def whoami(request: Request) -> Response:
    """Return whose personal token this is. Official clients take no account without an address."""
    holder = await authenticate_person(request)
    name = holder.account
    if not _ADDRESS.fullmatch(name):
        name = f"{_NOT_IN_ADDRESSES.sub('-', name)}@outlast.invalid"
    url = services(request).settings.api_url or str(request.base_url)
    body = WhoAmI(
        user_id=holder.account_id, email=name, dashboard_url=url.rstrip("/"), role=holder.role
    )
    return Response(body.to_json(), media_type="application/json")
