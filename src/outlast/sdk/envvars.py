"""Environment variables that runs get: list, read, make, change and delete them.

Without `project` and `environment` (dev, stg, prod) it is those of the key, or of the run that
calls. Values of secret variables read `<redacted>`. Running processes keep what they started with.
"""

from collections.abc import Mapping
from typing import Final

from outlast.client import clients
from outlast.client import environment as environments
from outlast.client import variables as requests
from outlast.protocol.variables import VariableBody
from outlast.sdk.blocking import check_blocking

__all__ = [
    "VariableBody",
    "create",
    "create_sync",
    "delete",
    "delete_sync",
    "list",
    "list_sync",
    "retrieve",
    "retrieve_sync",
    "update",
    "update_sync",
    "upload",
    "upload_sync",
]

_MODULE: Final = "envvars"


async def list(  # noqa: A001 - the word of the official client
    *, project: str | None = None, environment: str | None = None
) -> tuple[VariableBody, ...]:
    """Return all variables, by name."""
    where = await _where(project, environment)
    return await clients.send(requests.list_all(*where))


def list_sync(
    *, project: str | None = None, environment: str | None = None
) -> tuple[VariableBody, ...]:
    """Blocking `list`."""
    where = _where_sync("list", project, environment)
    return clients.send_sync(requests.list_all(*where))


async def retrieve(
    name: str, *, project: str | None = None, environment: str | None = None
) -> VariableBody:
    """Return one variable. Raises `NotFoundError`."""
    where = await _where(project, environment)
    return await clients.send(requests.retrieve(*where, name))


def retrieve_sync(
    name: str, *, project: str | None = None, environment: str | None = None
) -> VariableBody:
    """Blocking `retrieve`."""
    where = _where_sync("retrieve", project, environment)
    return clients.send_sync(requests.retrieve(*where, name))


async def create(
    name: str,
    value: str,
    *,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Make a variable. Raises `UnprocessableError` when there is one of this name."""
    where = await _where(project, environment)
    await clients.send(requests.create(*where, name, value, secret=secret))


def create_sync(
    name: str,
    value: str,
    *,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Blocking `create`."""
    where = _where_sync("create", project, environment)
    clients.send_sync(requests.create(*where, name, value, secret=secret))


async def update(
    name: str,
    value: str,
    *,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Give a variable another value; a secret one stays secret. Raises `NotFoundError`."""
    where = await _where(project, environment)
    await clients.send(requests.update(*where, name, value, secret=secret))


def update_sync(
    name: str,
    value: str,
    *,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Blocking `update`."""
    where = _where_sync("update", project, environment)
    clients.send_sync(requests.update(*where, name, value, secret=secret))


async def delete(name: str, *, project: str | None = None, environment: str | None = None) -> None:
    """Delete a variable. Raises `NotFoundError`."""
    where = await _where(project, environment)
    await clients.send(requests.delete(*where, name))


def delete_sync(name: str, *, project: str | None = None, environment: str | None = None) -> None:
    """Blocking `delete`."""
    where = _where_sync("delete", project, environment)
    clients.send_sync(requests.delete(*where, name))


async def upload(
    variables: Mapping[str, str],
    *,
    override: bool = False,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Write many variables, all or none; without `override` every name must be new."""
    where = await _where(project, environment)
    await clients.send(requests.upload(*where, variables, override=override, secret=secret))


def upload_sync(
    variables: Mapping[str, str],
    *,
    override: bool = False,
    secret: bool = False,
    project: str | None = None,
    environment: str | None = None,
) -> None:
    """Blocking `upload`."""
    where = _where_sync("upload", project, environment)
    clients.send_sync(requests.upload(*where, variables, override=override, secret=secret))


async def _where(project: str | None, environment: str | None) -> tuple[str, str]:
    if project is not None and environment is not None:
        return project, environment
    found = await clients.send(environments.retrieve())
    return project or found.project, environment or found.slug


def _where_sync(verb: str, project: str | None, environment: str | None) -> tuple[str, str]:
    check_blocking(f"{_MODULE}.{verb}_sync()", f"{_MODULE}.{verb}()")
    if project is not None and environment is not None:
        return project, environment
    found = clients.send_sync(environments.retrieve())
    return project or found.project, environment or found.slug
