"""Schedules declared in code: what cannot work is said where it is written."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from outlast import Context, Cron, ScheduledPayload, schedules
from outlast.sdk.errors import UsageError


class Moment(BaseModel):
    """As much of a tick as one task wants."""

    timestamp: datetime


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "0 9 * *"}, "five fields"),
        ({"cron": Cron("0 9 * * *", catchup="every")}, "latest, all, none, not 'every'"),  # type: ignore[arg-type]
        ({"cron": Cron("0 9 * * *", environments=["moon"])}, "'moon' of task broken is unknown"),
        ({"cron": Cron("0 9 * * *", environments="prod")}, "a list of names"),
        (
            {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            r"cron=Cron\('0 9 \* \* \*', timezone=",
        ),
        ({"cron": "0 9 * * *", "quue": None}, "did you mean queue"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_where_it_is_declared(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        schedules.task("broken", **options)


def test_a_task_that_starts_by_the_clock_takes_a_tick_part_of_one_or_nothing() -> None:
    """Else each of its ticks would be refused, at night, with nobody there to see it."""

    @schedules.task("takes-whole", cron="0 9 * * *")
    async def whole(payload: ScheduledPayload, ctx: Context) -> None: ...

    @schedules.task("takes-part", cron="0 9 * * *")
    async def part(payload: Moment) -> None: ...

    @schedules.task("takes-nothing", cron="0 9 * * *")
    async def nothing() -> None: ...

    @schedules.task("takes-text", cron="0 9 * * *")
    async def text(payload: str) -> None: ...

    @schedules.task("takes-text-from-people")
    async def unscheduled(payload: str) -> None: ...

    for task in (whole, part, nothing, unscheduled):
        task.check()
    with pytest.raises(UsageError, match="task takes-text starts by the clock: let its payload be"):
        text.check()


def test_parentheses_are_asked_for() -> None:
    with pytest.raises(UsageError, match=r"@schedules\.task\('id'"):
        schedules.task(lambda: None)  # type: ignore[arg-type]
