"""Bodies of the deployment routes: a version is deployed once a worker has brought it."""

from typing import Literal

from outlast.protocol.body import Body, Moment, Pagination

DEPLOYMENTS_PATH = "/api/v1/deployments"


class Deployment(Body):
    """A version as a deployment: it is there once a worker has brought it."""

    id: str
    short_code: str
    version: str
    status: Literal["DEPLOYED"] = "DEPLOYED"
    runtime: str | None = None
    runtime_version: str | None = None
    is_current: bool
    created_at: Moment
    deployed_at: Moment


class DeploymentPage(Body):
    """`GET /api/v1/deployments`, newest first."""

    data: tuple[Deployment, ...]
    pagination: Pagination
