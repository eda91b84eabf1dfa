"""What an alert says: as the body of a webhook, and in a sentence for people."""

from datetime import UTC, datetime
from typing import TypedDict
from urllib.parse import quote

import msgspec

from outlast.engine.deliveries import Notice
from outlast.engine.engine import Engine
from outlast.engine.errors import NotFound
from outlast.engine.tenancy import Environment
from outlast.protocol.alert_events import (
    Deployed,
    DeployedEvent,
    DeployedTask,
    DeploymentBody,
    ErrorEvent,
    ErrorFound,
    Event,
    FailedRun,
    GroupedError,
    Place,
    ProjectBody,
    RunFailed,
    RunFailedEvent,
    TaskBody,
)
from outlast.protocol.results import (
    BuiltInError,
    CustomError,
    InternalError,
    ResultError,
    StringError,
    form_of,
    missing_error,
)
from outlast.protocol.statuses import NAMES

_SHORT = 8
_MACHINE = "small-1x"
_MAX_TEXT_CHARS = 300


class Events:
    """Makes events of notices. `address`: where the dashboard is from outside, if it is known."""

    def __init__(self, engine: Engine, *, address: str | None) -> None:
        self._engine = engine
        self._address = (address or "").rstrip("/")

    async def of(self, notice: Notice) -> Event | None:
        """Return the event of a notice; None when what it is about is gone."""
        environment = await self._engine.tenancy.environment_by_id(notice.environment_id)
        if environment is None:
            return None
        try:
            match notice.type:
                case "alert.run.failed":
                    return await self._run_failed(notice, environment)
                case "alert.error":
                    return await self._error(notice, environment)
                case "alert.deployment.success":
                    return await self._deployed(notice, environment)
        except NotFound:
            return None

    async def _run_failed(self, notice: Notice, environment: Environment) -> Event:
        run = await self._engine.runs.retrieve(environment.id, notice.subject)
        [contents] = await self._engine.runs.contents(environment.id, [run.id])
        error = contents.run_error() or missing_error(run.status)
        offer = None
        if run.version is not None:
            offer = await self._engine.catalogue.offer(environment.id, run.version)
        task = None if offer is None else offer.tasks.get(run.task)
        return RunFailedEvent(
            **_head(notice),
            object=RunFailed(
                **_where(environment),
                task=TaskBody(
                    id=run.task,
                    version=run.version or "",
                    file_path="" if task is None else task.file,
                    export_name="" if task is None else task.function,
                    sdk_version="" if offer is None else offer.version.sdk,
                ),
                run=FailedRun(
                    id=run.id,
                    status=NAMES[run.status].api,
                    created_at=run.created_at,
                    started_at=run.started_at,
                    completed_at=run.finished_at,
                    is_test=run.is_test,
                    idempotency_key=run.idempotency_shown or run.idempotency_key or "",
                    tags=run.tags,
                    error=form_of(error),
                    is_out_of_memory_error=error.kind == "out_of_memory",
                    machine=run.machine or _MACHINE,
                    dashboard_url=self._page(environment, "runs", run.id),
                ),
            ),
        )

    async def _error(self, notice: Notice, environment: Environment) -> Event:
        group = await self._engine.failures.group(environment.id, notice.subject)
        return ErrorEvent(
            **_head(notice),
            object=ErrorFound(
                **_where(environment),
                classification="new_issue" if notice.detail == "new" else "regression",
                error=GroupedError(
                    fingerprint=group.fingerprint,
                    type=group.type,
                    message=group.message,
                    first_seen=group.first_at,
                    last_seen=group.last_at,
                    occurrence_count=group.count,
                    task_identifier=group.task,
                ),
                dashboard_url=self._page(environment, "errors", group.fingerprint),
            ),
        )

    async def _deployed(self, notice: Notice, environment: Environment) -> Event:
        found = await self._engine.catalogue.version(environment.id, notice.subject)
        offer = await self._engine.catalogue.offer(environment.id, found.name)
        tasks = () if offer is None else offer.tasks.values()
        return DeployedEvent(
            **_head(notice),
            object=Deployed(
                **_where(environment),
                deployment=DeploymentBody(
                    id=found.id,
                    version=found.name,
                    short_code=found.digest[:_SHORT],
                    deployed_at=found.created_at,
                ),
                tasks=tuple(
                    DeployedTask(
                        id=task.id,
                        file_path=task.file,
                        export_name=task.function,
                        trigger_source="schedule" if task.schedule else "api",
                    )
                    for task in tasks
                ),
                dashboard_url=self._page(environment, "versions"),
            ),
        )

    def _page(self, environment: Environment, *path: str) -> str:
        if not self._address:
            return ""
        place = ("env", environment.project_ref, environment.slug, *path)
        return f"{self._address}/{'/'.join(map(quote, place))}"


def sample(environment: Environment) -> Event:
    """Return an event that never happened, to try an alert with."""
    now = datetime.now(UTC)
    return RunFailedEvent(
        id="event_test",
        created=now,
        object=RunFailed(
            **_where(environment),
            task=TaskBody(id="example", version="20260101.1"),
            run=FailedRun(
                id="run_00000000000000000000000000",
                status="FAILED",
                created_at=now,
                completed_at=now,
                is_test=True,
                tags=(),
                error=StringError(raw="nothing failed: somebody tries this alert"),
                is_out_of_memory_error=False,
                machine=_MACHINE,
            ),
        ),
    )


def sentence(event: Event) -> str:
    """Return what happened in one line, without its link."""
    place = f"[{event.object.project.name}, {event.object.environment.slug}]"
    match event:
        case RunFailedEvent():
            run = event.object.run
            status = run.status.lower().replace("_", " ")
            said = f"{event.object.task.id} {status}: {_reason(run.error)} ({run.id})"
        case ErrorEvent():
            error = event.object.error
            what = "new error" if event.object.classification == "new_issue" else "error is back"
            said = f"{what} in {error.task_identifier}: {error.type}: {error.message}"
        case DeployedEvent():
            said = f"version {event.object.deployment.version} is current"
    more = f", and {event.more:,} more" if event.more else ""
    line = " ".join(f"{place} {said}".split())
    if len(line) > _MAX_TEXT_CHARS:
        line = f"{line[:_MAX_TEXT_CHARS]}…"
    return f"{line}{more}"


def link(event: Event) -> str:
    """Return the page of what happened; empty when nobody knows where the dashboard is."""
    if isinstance(event, RunFailedEvent):
        return event.object.run.dashboard_url
    return event.object.dashboard_url


def _reason(error: ResultError) -> str:
    match error:
        case BuiltInError():
            return f"{error.name}: {error.message}"
        case CustomError():
            told = msgspec.json.decode(error.raw, type=_Told)
            return f"{told.name}: {told.message}"
        case InternalError():
            return error.message or error.code
        case StringError():
            return error.raw


class _Head(TypedDict):
    id: str
    created: datetime
    more: int | None


def _head(notice: Notice) -> _Head:
    return {"id": notice.id, "created": notice.occurred_at, "more": notice.count - 1 or None}


class _Where(TypedDict):
    environment: Place
    project: ProjectBody


def _where(environment: Environment) -> _Where:
    slug, ref = environment.slug, environment.project_ref
    return {
        "environment": Place(id=environment.id, type=environment.type, slug=slug, name=slug),
        "project": ProjectBody(
            id=environment.project_id, ref=ref, slug=ref, name=environment.project_name
        ),
    }


class _Told(msgspec.Struct, frozen=True):
    name: str
    message: str
