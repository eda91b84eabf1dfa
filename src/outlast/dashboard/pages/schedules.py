"""Schedules: what the clock starts, when next, and the forms that make and change them."""

from dataclasses import dataclass

from outlast.client import schedules
from outlast.client.errors import ApiError
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.roles import Role
from outlast.protocol.schedules import ScheduleBody, ScheduleCreate, SchedulePlan

PAGE_SIZE = 25
CATCHUPS = (("latest", "one late tick"), ("all", "every tick"), ("none", "nothing"))

_FILTERS = {"task": "task", "external": "externalId"}
"""The names in the URL of the page, and those of the API."""


@dataclass(frozen=True, kw_only=True)
class SchedulesView:
    """A page of schedules."""

    schedules: tuple[ScheduleBody, ...]
    filters: dict[str, str]
    newer: str | None
    older: str | None


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What stands in the form."""

    task: str = ""
    cron: str = ""
    timezone: str = "UTC"
    window: str = ""
    catchup: str = "latest"
    external_id: str = ""
    concurrency_key: str = ""
    deduplication_key: str = ""


@dataclass(frozen=True, kw_only=True)
class ScheduleView:
    """One schedule or a new one, with the form that changes it."""

    schedule: ScheduleBody | None
    typed: Typed
    zones: tuple[str, ...]
    problem: str = ""

    @property
    def path(self) -> str:
        """Return where the form is sent."""
        return f"schedules/{self.schedule.id}" if self.schedule else "schedules/new"

    @property
    def is_declared(self) -> bool:
        """Whether code says it, so that it is changed there."""
        return self.schedule is not None and self.schedule.type == "DECLARATIVE"

    @property
    def catchups(self) -> tuple[tuple[str, str], ...]:
        """What can follow an outage."""
        return CATCHUPS


async def show(visit: Visit) -> Page:
    """Show the schedules, oldest first."""
    filters = visit.query(*_FILTERS)
    wanted = visit.query("page").get("page", "1")
    number = int(wanted) if wanted.isdecimal() and int(wanted) > 0 else 1
    found = await visit.ask(
        schedules.list_page(
            {_FILTERS[name]: value for name, value in filters.items()}, page=number, size=PAGE_SIZE
        )
    )
    view = SchedulesView(
        schedules=found.data,
        filters=filters,
        newer=link("schedules", **filters, page=str(number - 1)) if number > 1 else None,
        older=link("schedules", **filters, page=str(number + 1))
        if number < found.pagination.total_pages
        else None,
    )
    return Page("schedules.html", view, live=True)


async def show_one(visit: Visit) -> Page:
    """Show a schedule, and the form that changes it unless code declares it."""
    found = await visit.ask(schedules.retrieve(visit.path("schedule_id")))
    return await _form(visit, found, _typed(found))


async def show_new(visit: Visit) -> Page:
    """Show the form of a new schedule."""
    return await _form(visit, None, Typed(**visit.query("task")))


async def create_schedule(visit: Visit) -> Page | Moved:
    """Make a schedule, or change the one with its deduplication key."""
    typed = _read(visit)
    if not typed.deduplication_key:
        return await _form(visit, None, typed, "a schedule needs a deduplication key of your own")
    try:
        made = await visit.ask(
            schedules.create(
                ScheduleCreate.model_validate(
                    {**_plan(typed), "deduplication_key": typed.deduplication_key}
                )
            )
        )
    except (ApiError, ValueError) as error:
        return await _form(visit, None, typed, _reason(error))
    return Moved(f"schedules/{made.id}", f"{made.task} is scheduled: {made.generator.description}")


async def change_schedule(visit: Visit) -> Page | Moved:
    """Give a schedule another plan."""
    schedule_id = visit.path("schedule_id")
    typed = _read(visit)
    try:
        made = await visit.ask(
            schedules.update(schedule_id, SchedulePlan.model_validate(_plan(typed)))
        )
    except (ApiError, ValueError) as error:
        found = await visit.ask(schedules.retrieve(schedule_id))
        return await _form(visit, found, typed, _reason(error))
    return Moved(f"schedules/{made.id}", f"changed: {made.generator.description}")


async def turn_on_schedule(visit: Visit) -> Moved:
    """Turn a schedule on."""
    await visit.ask(schedules.switch(visit.path("schedule_id"), active=True))
    return Moved("schedules", "the schedule is on; what it missed is not made up for")


async def turn_off_schedule(visit: Visit) -> Moved:
    """Turn a schedule off."""
    await visit.ask(schedules.switch(visit.path("schedule_id"), active=False))
    return Moved("schedules", "the schedule is off")


async def delete_schedule(visit: Visit) -> Moved:
    """Delete a schedule."""
    schedule_id = visit.path("schedule_id")
    await visit.ask(schedules.delete(schedule_id))
    return Moved("schedules", f"{schedule_id} is deleted; its runs stay")


async def _form(
    visit: Visit, schedule: ScheduleBody | None, typed: Typed, problem: str = ""
) -> Page:
    zones = (await visit.ask(schedules.timezones(exclude_utc=False))).timezones
    view = ScheduleView(schedule=schedule, typed=typed, zones=zones, problem=problem)
    return Page("schedule.html", view, status=422 if problem else 200)


def _typed(found: ScheduleBody) -> Typed:
    return Typed(
        task=found.task,
        cron=found.generator.expression,
        timezone=found.timezone,
        window=found.window or "",
        catchup=found.catchup,
        external_id=found.external_id or "",
        concurrency_key=found.concurrency_key or "",
        deduplication_key=found.deduplication_key or "",
    )


def _read(visit: Visit) -> Typed:
    return Typed(**{name: visit.form.get(name).strip() for name in Typed.__dataclass_fields__})


def _plan(typed: Typed) -> dict[str, str | None]:
    """Return the fields of a plan; what is empty is not said."""
    names = SchedulePlan.model_fields
    return {name: getattr(typed, name) or None for name in names}


def _reason(error: ApiError | ValueError) -> str:
    return error.message if isinstance(error, ApiError) else "the form cannot be read; check it"


ROUTES = (
    Shown("/schedules", show),
    Shown("/schedules/new", show_new, role=Role.OPERATOR),
    Done("/schedules/new", create_schedule),
    Shown("/schedules/{schedule_id}", show_one),
    Done("/schedules/{schedule_id}", change_schedule),
    Done("/schedules/{schedule_id}/on", turn_on_schedule),
    Done("/schedules/{schedule_id}/off", turn_off_schedule),
    Done("/schedules/{schedule_id}/delete", delete_schedule),
)
