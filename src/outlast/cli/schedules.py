"""`outlast schedules`: what starts by the clock, when it does next, and its switch."""

from typing import Annotated

import typer

from outlast.cli.connection import ApiUrls, Key, connection
from outlast.cli.terminal import say, table

app = typer.Typer(help="See what starts by the clock, and switch it.", no_args_is_help=True)

Schedule = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id, sched_….")]
Task = Annotated[str | None, typer.Option(help="Only those of this task.")]
External = Annotated[str | None, typer.Option("--external-id", help="Only those with this id.")]
AsJson = Annotated[bool, typer.Option("--json", help="As the API has it, for scripts.")]
_MOST = 100


@app.command("list")
def list_schedules(
    task: Task = None,
    external_id: External = None,
    as_json: AsJson = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """List schedules with their next tick."""
    from outlast.cli.calls import call
    from outlast.client import schedules

    wanted = {"task": task, "externalId": external_id}
    filters = {name: value for name, value in wanted.items() if value is not None}
    page = call(connection(api_url, key), schedules.list_page(filters, page=1, size=_MOST))
    if as_json:
        print(page.model_dump_json(indent=2, exclude_none=True))
        return
    rows = [
        (
            one.id,
            one.task,
            one.generator.expression,
            one.timezone,
            one.next_run.strftime("%Y-%m-%d %H:%M UTC") if one.next_run else "off",
            one.last_skip or "",
        )
        for one in page.data
    ]
    table(("SCHEDULE", "TASK", "CRON", "ZONE", "NEXT", "LAST SKIPPED"), rows)
    if page.pagination.count > len(rows):
        say(f"and {page.pagination.count - len(rows)} more; narrow with --task or --external-id")


@app.command("activate")
def activate(schedule: Schedule, api_url: ApiUrls = None, key: Key = None) -> None:
    """Turn a schedule on; what it missed while off is not made up for."""
    _switch(schedule, api_url, key, active=True)


@app.command("deactivate")
def deactivate(schedule: Schedule, api_url: ApiUrls = None, key: Key = None) -> None:
    """Turn a schedule off."""
    _switch(schedule, api_url, key, active=False)


@app.command("delete")
def delete(schedule: Schedule, api_url: ApiUrls = None, key: Key = None) -> None:
    """Delete a schedule; its runs stay."""
    from outlast.cli.calls import call
    from outlast.client import schedules

    say(f"{call(connection(api_url, key), schedules.delete(schedule)).id}  is deleted")


def _switch(schedule: str, api_url: ApiUrls, key: Key, *, active: bool) -> None:
    from outlast.cli.calls import call
    from outlast.client import schedules

    switched = call(connection(api_url, key), schedules.switch(schedule, active=active))
    say(f"{switched.id}  is {'on' if switched.active else 'off'}")
