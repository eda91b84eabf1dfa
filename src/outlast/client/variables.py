"""Environment variables of a project's environment, by its ref and its slug."""

from collections.abc import Mapping
from urllib.parse import quote

from pydantic import TypeAdapter

from outlast.client.requests import Request, model
from outlast.protocol.variables import (
    VARIABLES_PATH,
    Success,
    VariableBody,
    VariableCreate,
    VariableImport,
    VariableUpdate,
)

_list = TypeAdapter(tuple[VariableBody, ...])


def list_all(project: str, environment: str) -> Request[tuple[VariableBody, ...]]:
    """Return the request for the variables, by name."""
    path = _path(project, environment)
    return Request("GET", path, lambda reply: _list.validate_json(reply.body))


def retrieve(project: str, environment: str, name: str) -> Request[VariableBody]:
    """Return the request for one variable."""
    return Request("GET", _path(project, environment, name), model(VariableBody))


def create(
    project: str, environment: str, name: str, value: str, *, secret: bool
) -> Request[Success]:
    """Return the request that makes a variable."""
    body = VariableCreate(name=name, value=value, is_secret=secret)
    return Request("POST", _path(project, environment), model(Success), body=body.to_json())


def update(
    project: str, environment: str, name: str, value: str, *, secret: bool
) -> Request[Success]:
    """Return the request that gives a variable another value."""
    body = VariableUpdate(value=value, is_secret=secret)
    return Request("PUT", _path(project, environment, name), model(Success), body=body.to_json())


def delete(project: str, environment: str, name: str) -> Request[Success]:
    """Return the request that deletes a variable."""
    return Request("DELETE", _path(project, environment, name), model(Success))


def upload(
    project: str, environment: str, variables: Mapping[str, str], *, override: bool, secret: bool
) -> Request[Success]:
    """Return the request that writes many variables, all or none."""
    body = VariableImport(variables=dict(variables), override=override, is_secret=secret)
    path = f"{_path(project, environment)}/import"
    return Request("POST", path, model(Success), body=body.to_json())


def _path(project: str, environment: str, name: str | None = None) -> str:
    path = VARIABLES_PATH.format(ref=quote(project, safe=""), slug=quote(environment, safe=""))
    return path if name is None else f"{path}/{quote(name, safe='')}"
