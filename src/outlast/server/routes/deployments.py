"""Deployments: the versions that workers have brought, which is current, and going back to one."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from outlast.engine.catalogue import Version
from outlast.protocol.body import Pagination
from outlast.protocol.deployments import DEPLOYMENTS_PATH, Deployment, DeploymentPage
from outlast.server.auth import authenticate
from outlast.server.contract import WRITE_ALL, key_or, promise
from outlast.server.problems import not_found
from outlast.server.services import services

_JSON = "application/json"
_SHORT = 8
_DEFAULT_PAGE = 20
MAX_PAGE = 100
READ = key_or("read:deployments")

router = APIRouter(prefix=DEPLOYMENTS_PATH, tags=["deployments"])


@router.get("", response_model=DeploymentPage, **promise(READ))
async def list_deployments(
    request: Request,
    *,
    status: Annotated[str | None, Query(max_length=40)] = None,
    since: Annotated[datetime | None, Query(alias="from")] = None,
    until: Annotated[datetime | None, Query(alias="to")] = None,
    after: Annotated[str | None, Query(alias="page[after]", max_length=80)] = None,
    size: Annotated[int, Query(alias="page[size]", ge=1, le=MAX_PAGE)] = _DEFAULT_PAGE,
) -> Response:
    """Return a page of deployments, newest first."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("read", deployments=None)
    found: list[Version] = []
    if status is None or status == "DEPLOYED":
        found = await engine.catalogue.versions(
            caller.environment.id, size + 1, after=after, since=since, until=until
        )
    current = await engine.catalogue.offer(caller.environment.id)
    shown = found[:size]
    body = DeploymentPage(
        data=tuple(_body(one, current.version.id if current else None) for one in shown),
        pagination=Pagination(next=shown[-1].id if len(found) > size else None),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/current", response_model=Deployment, **promise(READ, fails=(404,)))
async def current(request: Request) -> Response:
    """Return the deployment that new runs start on."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("read", deployments=None)
    offer = await engine.catalogue.offer(caller.environment.id, fresh=True)
    if offer is None:
        raise not_found("Deployment")
    return Response(_body(offer.version, offer.version.id).to_json(), media_type=_JSON)


@router.get("/latest", response_model=Deployment, **promise(READ, fails=(404,)))
async def latest(request: Request) -> Response:
    """Return the newest deployment, current or not."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("read", deployments=None)
    versions = await engine.catalogue.versions(caller.environment.id, 1)
    if not versions:
        raise not_found("Deployment")
    offer = await engine.catalogue.offer(caller.environment.id)
    body = _body(versions[0], offer.version.id if offer else None)
    return Response(body.to_json(), media_type=_JSON)


@router.post("/{version}/promote", response_model=Deployment, **promise(WRITE_ALL))
async def promote(request: Request, version: str) -> Response:
    """Let new runs start on this version, as for going back."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    promoted = await engine.catalogue.promote(caller.environment.id, version)
    engine.cycles.wake(caller.environment.id)
    return Response(_body(promoted, promoted.id).to_json(), media_type=_JSON)


def _body(version: Version, current: str | None) -> Deployment:
    runtime, _, number = version.runtime.partition(" ")
    return Deployment(
        id=version.id,
        short_code=version.digest[:_SHORT],
        version=version.name,
        runtime=runtime or None,
        runtime_version=number or None,
        is_current=version.id == current,
        created_at=version.created_at,
        deployed_at=version.created_at,
    )
