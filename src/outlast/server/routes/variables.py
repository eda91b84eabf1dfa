"""Environment variables: kept by key, by role, or by a person's token; read whole by workers."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from outlast.engine.variables import Variable
from outlast.protocol.variables import (
    REDACTED,
    VARIABLES_PATH,
    Success,
    VariableBody,
    VariableCreate,
    VariableImport,
    VariableUpdate,
    VariableValues,
)
from outlast.server.auth import Caller, authenticate, authenticate_at
from outlast.server.contract import KEY, READ_ALL, WRITE_ALL, or_person, promise
from outlast.server.services import services

_JSON = "application/json"
_SLUGS = {"staging": "stg", "production": "prod", "development": "dev"}

router = APIRouter(tags=["envvars"])


@router.get(VARIABLES_PATH, response_model=list[VariableBody], **promise(or_person(READ_ALL)))
async def list_variables(request: Request, ref: str, slug: str) -> Response:
    """List the variables by name. Values of secret ones are redacted; to readers, all are."""
    caller = await _enter(request, ref, slug, "read")
    found = await services(request).engine.variables.list(caller.environment.id)
    shown = b",".join(_body(one, caller).to_json() for one in found)
    return Response(b"[" + shown + b"]", media_type=_JSON)


@router.post(VARIABLES_PATH, response_model=Success, **promise(or_person(WRITE_ALL)))
async def create(
    request: Request, ref: str, slug: str, wanted: Annotated[VariableCreate, Body()]
) -> Response:
    """Make a variable that is not there yet."""
    caller = await _enter(request, ref, slug, "write")
    await services(request).engine.variables.save(
        caller.environment.id,
        {wanted.name: wanted.value},
        mode="new",
        is_secret=wanted.is_secret,
        by=caller.actor,
    )
    return _done()


@router.post(VARIABLES_PATH + "/import", response_model=Success, **promise(or_person(WRITE_ALL)))
async def import_variables(
    request: Request, ref: str, slug: str, wanted: Annotated[VariableImport, Body()]
) -> Response:
    """Write many variables, all or none."""
    caller = await _enter(request, ref, slug, "write")
    await services(request).engine.variables.save(
        caller.environment.id,
        wanted.variables,
        mode="any" if wanted.override else "new",
        is_secret=wanted.is_secret,
        by=caller.actor,
    )
    return _done()


@router.get(VARIABLES_PATH + "/{name}", response_model=VariableBody, **promise(or_person(READ_ALL)))
async def retrieve(request: Request, ref: str, slug: str, name: str) -> Response:
    """Return one variable; the value of a secret one is redacted."""
    caller = await _enter(request, ref, slug, "read")
    found = await services(request).engine.variables.retrieve(caller.environment.id, name)
    return Response(_body(found, caller).to_json(), media_type=_JSON)


@router.put(VARIABLES_PATH + "/{name}", response_model=Success, **promise(or_person(WRITE_ALL)))
async def update(
    request: Request, ref: str, slug: str, name: str, wanted: Annotated[VariableUpdate, Body()]
) -> Response:
    """Give a variable another value."""
    caller = await _enter(request, ref, slug, "write")
    await services(request).engine.variables.save(
        caller.environment.id,
        {name: wanted.value},
        mode="existing",
        is_secret=wanted.is_secret,
        by=caller.actor,
    )
    return _done()


@router.delete(VARIABLES_PATH + "/{name}", response_model=Success, **promise(or_person(WRITE_ALL)))
async def delete(request: Request, ref: str, slug: str, name: str) -> Response:
    """Delete a variable."""
    caller = await _enter(request, ref, slug, "write")
    await services(request).engine.variables.delete(caller.environment.id, name)
    return _done()


@router.get("/api/outlast/v1/variables", response_model=VariableValues, **promise(KEY))
async def values(request: Request) -> Response:
    """Return every value, secret ones too, for the processes of a worker: to keys alone."""
    caller = await authenticate(request)
    caller.require_secret()
    found = await services(request).engine.variables.snapshot(caller.environment.id)
    body = VariableValues(revision=found.revision, variables=found.values, secrets=found.secrets)
    return Response(body.to_json(), media_type=_JSON)


async def _enter(request: Request, ref: str, slug: str, action: str) -> Caller:
    """Return who calls, if they may act in the environment of the address. Raises `Problem`."""
    caller = await authenticate_at(request, ref, _SLUGS.get(slug, slug))
    caller.require_whole(action)
    return caller


def _body(variable: Variable, caller: Caller) -> VariableBody:
    hidden = variable.is_secret or not caller.may("write")
    return VariableBody(
        name=variable.name,
        value=REDACTED if hidden else variable.value,
        is_secret=variable.is_secret,
        created_at=variable.created_at,
        updated_at=variable.updated_at,
        updated_by=variable.updated_by,
    )


def _done() -> Response:
    return Response(Success().to_json(), media_type=_JSON)
