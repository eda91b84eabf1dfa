"""What webhooks of alerts carry, as the official `webhooks.constructEvent` reads it.

Their schema wants an organization, and tells a few things that there are not here: those are empty.
"""

from typing import Annotated, Literal

from pydantic import Field

from outlast.protocol.body import Body, Moment
from outlast.protocol.results import ResultError

SIGNATURE_HEADER = "x-trigger-signature-hmacsha256"
"""HMAC-SHA256 of the body under the alert's secret, as hex."""


class Place(Body):
    """The environment, in an event."""

    id: str
    type: str
    slug: str
    name: str


class Organization(Body):
    """The installation: there are no organizations here."""

    id: str = "outlast"
    slug: str = "outlast"
    name: str = "Outlast"


class ProjectBody(Body):
    """The project; its ref is its slug too."""

    id: str
    ref: str
    slug: str
    name: str


class About(Body):
    """Where something happened."""

    environment: Place
    organization: Organization = Organization()
    project: ProjectBody


class TaskBody(Body):
    """The task of a failed run; its version is empty when the run never started."""

    id: str
    version: str
    file_path: str = ""
    export_name: str = ""
    sdk_version: str = ""
    cli_version: str = ""


class FailedRun(Body):
    """A failed run. `dashboardUrl` is empty unless the server knows its public address."""

    id: str
    number: int = 0
    status: str
    created_at: Moment
    started_at: Moment | None = None
    completed_at: Moment | None = None
    is_test: bool
    idempotency_key: str = ""
    tags: tuple[str, ...]
    error: ResultError
    is_out_of_memory_error: bool
    machine: str
    dashboard_url: str = ""


class RunFailed(About):
    """A run failed for good."""

    task: TaskBody
    run: FailedRun


class GroupedError(Body):
    """A group of failures that look alike."""

    fingerprint: str
    type: str
    message: str
    first_seen: Moment
    last_seen: Moment
    occurrence_count: int
    task_identifier: str


class ErrorFound(About):
    """An error is new, or came back after it was resolved."""

    classification: Literal["new_issue", "regression"]
    error: GroupedError
    dashboard_url: str = ""


class DeploymentBody(Body):
    """A version."""

    id: str
    status: str = "DEPLOYED"
    version: str
    short_code: str
    deployed_at: Moment


class DeployedTask(Body):
    """A task of a version."""

    id: str
    file_path: str
    export_name: str
    trigger_source: str


class Deployed(About):
    """A new version became the current one."""

    deployment: DeploymentBody
    tasks: tuple[DeployedTask, ...]
    dashboard_url: str = ""


class _Event(Body):
    """`more`: how many others like it are told with this one."""

    id: str
    created: Moment
    webhook_version: Literal["v1"] = "v1"
    more: int | None = None


class RunFailedEvent(_Event):
    """`alert.run.failed`."""

    type: Literal["alert.run.failed"] = "alert.run.failed"
    object: RunFailed


class ErrorEvent(_Event):
    """`alert.error`."""

    type: Literal["alert.error"] = "alert.error"
    object: ErrorFound


class DeployedEvent(_Event):
    """`alert.deployment.success`."""

    type: Literal["alert.deployment.success"] = "alert.deployment.success"
    object: Deployed


Event = Annotated[RunFailedEvent | ErrorEvent | DeployedEvent, Field(discriminator="type")]
