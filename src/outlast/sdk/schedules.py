"""Tasks that start by the clock: declared with `@schedules.task`, or made for each tenant."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack, get_args

from outlast.client import clients
from outlast.client import schedules as requests
from outlast.protocol.manifests import ScheduleManifest
from outlast.protocol.schedules import (
    Catchup,
    ScheduleBody,
    ScheduleCreate,
    ScheduledPayload,
    SchedulePlan,
)
from outlast.sdk.blocking import check_blocking
from outlast.sdk.decorator import TaskDecorator, TaskOptions
from outlast.sdk.decorator import task as plain_task
from outlast.sdk.errors import UsageError
from outlast.sdk.options import unknown
from outlast.sdk.triggerable import Triggerable

__all__ = [
    "Cron",
    "ScheduleBody",
    "ScheduledPayload",
    "activate",
    "activate_sync",
    "create",
    "create_sync",
    "deactivate",
    "deactivate_sync",
    "delete",
    "delete_sync",
    "list",
    "list_sync",
    "retrieve",
    "retrieve_sync",
    "task",
    "timezones",
    "timezones_sync",
    "update",
    "update_sync",
]

PAGE: Final = 100
_FIELDS: Final = 5
_SLUGS: Final = {
    "DEVELOPMENT": "dev",
    "STAGING": "stg",
    "PREVIEW": "preview",
    "PRODUCTION": "prod",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """When a declared task starts: `Cron("0 9 * * 1-5", timezone="Europe/Berlin")`.

    Five fields; `L` is the last day of the month, `5L` its last Friday. `window` ("30m", "2h",
    "30%") lets each schedule start later by a share of its own. `environments` ("PRODUCTION",
    "staging", "dev", ...) says where; everywhere unless given. `catchup` is what follows an outage:
    one late tick ("latest"), "all" that were missed, or "none".
    """

    pattern: str
    timezone: str = "UTC"
    window: str | None = None
    environments: Sequence[str] = ()
    catchup: Catchup = "latest"

    def manifest(self, task_id: str) -> ScheduleManifest:
        """Return the declaration as data. Raises `UsageError` for what no server would take."""
        if len(self.pattern.split()) != _FIELDS:
            raise UsageError(
                f"cron {self.pattern!r} of task {task_id}: write five fields (minute hour day "
                "month weekday), as in '0 9 * * 1-5'"
            )
        if self.catchup not in (known := get_args(Catchup)):
            raise UsageError(
                f"catchup of task {task_id} is one of {', '.join(known)}, not {self.catchup!r}"
            )
        if isinstance(self.environments, str):
            raise UsageError(f"environments of task {task_id} is a list of names")
        return ScheduleManifest(
            cron=self.pattern,
            timezone=self.timezone,
            environments=tuple(_slug(name, task_id) for name in self.environments),
            window=self.window,
            catchup=self.catchup,
        )


class Plan(TypedDict, total=False):
    """When a schedule starts its task, and for whom.

    `external_id` is yours to find it by, `concurrency_key` the lane of its runs.
    """

    timezone: str
    external_id: str
    window: str
    catchup: Catchup
    concurrency_key: str


class Filters(TypedDict, total=False):
    """Which schedules to list; fields are combined."""

    task: str
    external_id: str
    deduplication_key: str


_NAMES: Final = {
    "task": "task",
    "external_id": "externalId",
    "deduplication_key": "deduplicationKey",
}


def task(
    id: str | None = None,  # noqa: A002 - the word users write
    *,
    cron: str | Cron | None = None,
    **options: Unpack[TaskOptions],
) -> TaskDecorator:
    """Make a function a task that starts by the clock: `@schedules.task("a", cron="0 9 * * *")`.

    A text is in UTC, a `Cron` says more. The function takes a `ScheduledPayload`. Without `cron` it
    is for `schedules.create(...)` only.
    """
    if callable(id):
        raise UsageError("write @schedules.task('id', cron='0 9 * * *'), with parentheses")
    for name in sorted(set(options) & Cron.__annotations__.keys()):
        raise UsageError(
            f"@schedules.task: {name} is said beside the pattern: "
            f"cron=Cron('0 9 * * *', {name}=...)"
        )
    made = plain_task(id, **options)
    when = Cron(cron) if isinstance(cron, str) else cron
    if when is not None:
        return made.scheduled(when.manifest(id or "without an id"))
    return made


async def create(
    task: "str | Triggerable[ScheduledPayload, Any]",
    *,
    cron: str,
    deduplication_key: str,
    **plan: Unpack[Plan],
) -> ScheduleBody:
    """Make a schedule of a task. The same deduplication key changes the one there is.

    Raises `UnprocessableError` for a pattern, time zone or task that is unknown.
    """
    return await clients.send(requests.create(_creation(task, cron, deduplication_key, plan)))


def create_sync(
    task: "str | Triggerable[ScheduledPayload, Any]",
    *,
    cron: str,
    deduplication_key: str,
    **plan: Unpack[Plan],
) -> ScheduleBody:
    """Blocking `create`."""
    check_blocking("schedules.create_sync()", "schedules.create()")
    return clients.send_sync(requests.create(_creation(task, cron, deduplication_key, plan)))


async def update(
    schedule_id: str,
    *,
    task: "str | Triggerable[ScheduledPayload, Any]",
    cron: str,
    **plan: Unpack[Plan],
) -> ScheduleBody:
    """Give a schedule another plan, whole. Raises `NotFoundError`, `ConflictError` if declared."""
    return await clients.send(requests.update(schedule_id, _plan(task, cron, plan)))


def update_sync(
    schedule_id: str,
    *,
    task: "str | Triggerable[ScheduledPayload, Any]",
    cron: str,
    **plan: Unpack[Plan],
) -> ScheduleBody:
    """Blocking `update`."""
    check_blocking("schedules.update_sync()", "schedules.update()")
    return clients.send_sync(requests.update(schedule_id, _plan(task, cron, plan)))


async def retrieve(schedule_id: str) -> ScheduleBody:
    """Return a schedule with its next ticks. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(schedule_id))


def retrieve_sync(schedule_id: str) -> ScheduleBody:
    """Blocking `retrieve`."""
    check_blocking("schedules.retrieve_sync()", "schedules.retrieve()")
    return clients.send_sync(requests.retrieve(schedule_id))


async def activate(schedule_id: str) -> ScheduleBody:
    """Turn a schedule on; what it missed while off is not made up for."""
    return await clients.send(requests.switch(schedule_id, active=True))


def activate_sync(schedule_id: str) -> ScheduleBody:
    """Blocking `activate`."""
    check_blocking("schedules.activate_sync()", "schedules.activate()")
    return clients.send_sync(requests.switch(schedule_id, active=True))


async def deactivate(schedule_id: str) -> ScheduleBody:
    """Turn a schedule off."""
    return await clients.send(requests.switch(schedule_id, active=False))


def deactivate_sync(schedule_id: str) -> ScheduleBody:
    """Blocking `deactivate`."""
    check_blocking("schedules.deactivate_sync()", "schedules.deactivate()")
    return clients.send_sync(requests.switch(schedule_id, active=False))


async def delete(schedule_id: str) -> None:
    """Delete a schedule; its runs stay. Raises `NotFoundError`, `ConflictError` if declared."""
    await clients.send(requests.delete(schedule_id))


def delete_sync(schedule_id: str) -> None:
    """Blocking `delete`."""
    check_blocking("schedules.delete_sync()", "schedules.delete()")
    clients.send_sync(requests.delete(schedule_id))


async def list(**filters: Unpack[Filters]) -> AsyncIterator[ScheduleBody]:  # noqa: A001
    """Yield schedules, oldest first, page by page."""
    wanted, page = _query(filters), 1
    while True:
        found = await clients.send(requests.list_page(wanted, page=page, size=PAGE))
        for one in found.data:
            yield one
        if page >= found.pagination.total_pages:
            return
        page += 1


def list_sync(**filters: Unpack[Filters]) -> Iterator[ScheduleBody]:
    """Blocking `list`."""
    check_blocking("schedules.list_sync()", "schedules.list()")
    wanted, page = _query(filters), 1
    while True:
        found = clients.send_sync(requests.list_page(wanted, page=page, size=PAGE))
        yield from found.data
        if page >= found.pagination.total_pages:
            return
        page += 1


async def timezones(*, exclude_utc: bool = False) -> tuple[str, ...]:
    """Return the names that `timezone` takes."""
    return (await clients.send(requests.timezones(exclude_utc=exclude_utc))).timezones


def timezones_sync(*, exclude_utc: bool = False) -> tuple[str, ...]:
    """Blocking `timezones`."""
    check_blocking("schedules.timezones_sync()", "schedules.timezones()")
    return clients.send_sync(requests.timezones(exclude_utc=exclude_utc)).timezones


def _creation(
    task: "str | Triggerable[ScheduledPayload, Any]", cron: str, key: str, plan: Plan
) -> ScheduleCreate:
    body = _plan(task, cron, plan)
    return ScheduleCreate(**body.model_dump(by_alias=False), deduplication_key=key)


def _plan(task: "str | Triggerable[ScheduledPayload, Any]", cron: str, plan: Plan) -> SchedulePlan:
    if left := sorted(set(plan) - Plan.__annotations__.keys()):
        raise unknown(left[0], Plan.__annotations__, "schedules")
    if not isinstance(cron, str):
        raise UsageError("cron of a made schedule is a text; the time zone is `timezone=`")
    return SchedulePlan(task=task if isinstance(task, str) else task.id, cron=cron, **plan)


def _query(filters: Filters) -> dict[str, str]:
    for name in filters:
        if name not in _NAMES:
            raise unknown(name, _NAMES, "schedules.list")
    return {_NAMES[name]: str(value) for name, value in filters.items()}


def _slug(name: str, task_id: str) -> str:
    slug = _SLUGS.get(name.upper(), name.lower())
    if slug not in _SLUGS.values():
        raise UsageError(
            f"environment {name!r} of task {task_id} is unknown; use one of {', '.join(_SLUGS)}"
        )
    return slug
