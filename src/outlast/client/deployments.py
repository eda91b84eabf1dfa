"""Deployments: list the versions that workers have brought, and go back to one."""

from urllib.parse import quote

from outlast.client.requests import Request, model
from outlast.protocol.deployments import DEPLOYMENTS_PATH, Deployment, DeploymentPage


def list_page(*, size: int, after: str | None = None) -> Request[DeploymentPage]:
    """Return the request for a page of deployments, newest first."""
    query = [("page[size]", str(size))]
    if after is not None:
        query.append(("page[after]", after))
    return Request("GET", DEPLOYMENTS_PATH, model(DeploymentPage), query=tuple(query))


def promote(version: str) -> Request[Deployment]:
    """Return the request that lets new runs start on a version."""
    path = f"{DEPLOYMENTS_PATH}/{quote(version, safe='')}/promote"
    return Request("POST", path, model(Deployment))
