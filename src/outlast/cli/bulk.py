"""`outlast runs bulk`: cancel or replay many runs, and follow how far it is."""

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from outlast.cli.connection import ApiUrls, Connection, Key, connection
from outlast.cli.terminal import Stop, say, table

if TYPE_CHECKING:
    from outlast.protocol.bulk import BulkBody

app = typer.Typer(help="Cancel or replay many runs at once.", no_args_is_help=True)

Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Up to 500 ids.")]
Several = Annotated[list[str] | None, typer.Option(help="Repeatable; any of them.")]
Period = Annotated[str | None, typer.Option(help="How far back: 1d. Default 7d.")]
Name = Annotated[str | None, typer.Option(help="A name to find the action by.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end.")]
Action = Annotated[str, typer.Argument(metavar="ACTION", help="The action's id, bulk_….")]

_PAUSE_SECONDS = 0.5


@app.command("cancel")
def cancel(
    runs: Runs = None,
    status: Several = None,
    task: Several = None,
    tag: Several = None,
    queue: Several = None,
    period: Period = None,
    name: Name = None,
    wait: Wait = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Cancel the runs that the options find now, or those named."""
    filters = _filters(status, task, tag, queue, period)
    _begin("cancel", connection(api_url, key), runs, filters, name=name, wait=wait)


@app.command("replay")
def replay(
    runs: Runs = None,
    status: Several = None,
    task: Several = None,
    tag: Several = None,
    queue: Several = None,
    period: Period = None,
    name: Name = None,
    wait: Wait = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Make the runs again that the options find now, or those named."""
    filters = _filters(status, task, tag, queue, period)
    _begin("replay", connection(api_url, key), runs, filters, name=name, wait=wait)


@app.command("list")
def list_actions(api_url: ApiUrls = None, key: Key = None) -> None:
    """List the newest actions."""
    from outlast.cli.calls import call
    from outlast.client import replays

    page = call(connection(api_url, key), replays.list_bulk(size=20, after=None))
    rows = [(one.id, one.type, one.status, _counts(one), one.name or "") for one in page.data]
    table(("ACTION", "TYPE", "STATUS", "RUNS", "NAME"), rows)


@app.command("get")
def get(action: Action, wait: Wait = False, api_url: ApiUrls = None, key: Key = None) -> None:
    """Show how far an action is."""
    _follow(connection(api_url, key), action, wait=wait)


@app.command("abort")
def abort(action: Action, api_url: ApiUrls = None, key: Key = None) -> None:
    """Stop an action; what is under way still happens."""
    from outlast.cli.calls import call
    from outlast.client import replays

    say(f"{call(connection(api_url, key), replays.abort_bulk(action)).id}  is aborted")


def _filters(
    status: list[str] | None,
    task: list[str] | None,
    tag: list[str] | None,
    queue: list[str] | None,
    period: str | None,
) -> dict[str, object]:
    given = {
        "status": [one.upper() for one in status or []],
        "taskIdentifier": task,
        "tag": tag,
        "queue": queue,
        "period": period,
    }
    return {name: value for name, value in given.items() if value}


def _begin(
    action: Literal["cancel", "replay"],
    found: Connection,
    runs: list[str] | None,
    filters: dict[str, object],
    *,
    name: str | None,
    wait: bool,
) -> None:
    from outlast.cli.calls import call
    from outlast.client import replays

    if bool(runs) == bool(filters):
        raise Stop("name the runs by their ids, or by options such as --status and --tag")
    request = replays.begin_bulk(action, filters=filters or None, run_ids=runs, name=name)
    _follow(found, call(found, request).id, wait=wait)


def _follow(found: Connection, action: str, *, wait: bool) -> None:
    from outlast.cli.calls import call
    from outlast.client import replays

    shown = ""
    while True:
        one = call(found, replays.retrieve_bulk(action))
        line = f"{one.id}  {one.type}  {one.status}  {_counts(one)}"
        if line != shown:
            say(shown := line)
        if not wait or one.status != "PENDING":
            return
        time.sleep(_PAUSE_SECONDS)


def _counts(one: "BulkBody") -> str:
    counts = one.counts
    failed = f", {counts.failure} failed" if counts.failure else ""
    return f"{counts.success + counts.failure} of {counts.total}{failed}"
