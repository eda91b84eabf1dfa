"""Schedules: make, change, switch, delete, list and read them."""

from collections.abc import Mapping
from urllib.parse import quote

from outlast.client.requests import Request, model
from outlast.protocol.bodies import IdReply
from outlast.protocol.schedules import (
    SCHEDULES_PATH,
    ScheduleBody,
    ScheduleCreate,
    ScheduleListPage,
    SchedulePlan,
    Timezones,
)


def create(wanted: ScheduleCreate) -> Request[ScheduleBody]:
    """Return the request that makes the schedule with this deduplication key, or changes it."""
    return Request("POST", SCHEDULES_PATH, model(ScheduleBody), body=wanted.to_json())


def update(schedule_id: str, wanted: SchedulePlan) -> Request[ScheduleBody]:
    """Return the request that gives a schedule another plan."""
    return Request("PUT", _path(schedule_id), model(ScheduleBody), body=wanted.to_json())


def retrieve(schedule_id: str) -> Request[ScheduleBody]:
    """Return the request for a schedule."""
    return Request("GET", _path(schedule_id), model(ScheduleBody))


def delete(schedule_id: str) -> Request[IdReply]:
    """Return the request that deletes a schedule."""
    return Request("DELETE", _path(schedule_id), model(IdReply))


def switch(schedule_id: str, *, active: bool) -> Request[ScheduleBody]:
    """Return the request that turns a schedule on or off."""
    verb = "activate" if active else "deactivate"
    return Request("POST", f"{_path(schedule_id)}/{verb}", model(ScheduleBody))


def list_page(filters: Mapping[str, str], *, page: int, size: int) -> Request[ScheduleListPage]:
    """Return the request for a page, oldest first; the first page is 1."""
    query = [(f"filter[{name}]", value) for name, value in filters.items()]
    query += [("page", str(page)), ("perPage", str(size))]
    return Request("GET", SCHEDULES_PATH, model(ScheduleListPage), query=tuple(query))


def timezones(*, exclude_utc: bool) -> Request[Timezones]:
    """Return the request for the names of all time zones."""
    query = (("excludeUtc", "true"),) if exclude_utc else ()
    return Request("GET", "/api/v1/timezones", model(Timezones), query=query)


def _path(schedule_id: str) -> str:
    return f"{SCHEDULES_PATH}/{quote(schedule_id, safe='')}"
