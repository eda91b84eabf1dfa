"""`outlast runs`: look at runs, and steer them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli import bulk
from outlast.cli.connection import ApiUrls, Key, connection
from outlast.cli.terminal import duration, say, table

if TYPE_CHECKING:
    from outlast.protocol.bodies import ListedRun, RunBody, RunDetail, RunErrorBody

app = typer.Typer(help="Look at runs, and steer them.", no_args_is_help=True)
app.add_typer(bulk.app, name="bulk")

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, run_….")]
Delay = Annotated[str, typer.Argument(help="From now: 1h30m; or a moment with an offset.")]
Status = Annotated[list[str] | None, typer.Option(help="QUEUED, EXECUTING, …; repeatable.")]
Task = Annotated[list[str] | None, typer.Option(help="A task's id; repeatable.")]
Tag = Annotated[list[str] | None, typer.Option(help="Repeatable; any of them.")]
Several = Annotated[list[str] | None, typer.Option(help="Repeatable; any of them.")]
Batch = Annotated[str | None, typer.Option(help="Runs of this batch.")]
Period = Annotated[str | None, typer.Option(help="How far back: 1d.")]
After = Annotated[str | None, typer.Option(metavar="RUN", help="Older than this run.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")]
AsJson = Annotated[bool, typer.Option("--json", help="As the API has it, for scripts.")]


@app.command("list")
def list_runs(
    status: Status = None,
    task: Task = None,
    tag: Tag = None,
    queue: Several = None,
    version: Several = None,
    machine: Several = None,
    batch: Batch = None,
    period: Period = None,
    after: After = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """List the newest runs."""
    from outlast.cli.calls import call
    from outlast.client import runs
    from outlast.sdk.filters import in_query

    wanted = {
        "status": [one.upper() for one in status or []],
        "task": task,
        "tag": tag,
        "queue": queue,
        "version": version,
        "machine": machine,
        "batch": batch,
        "period": period,
    }
    given = {name: value for name, value in wanted.items() if value}
    filters = in_query(given, "outlast runs list")
    page = call(connection(api_url, key), runs.list_page(filters, size=limit, after=after))
    if as_json:
        print(page.model_dump_json(indent=2, exclude_none=True))
        return
    table(("RUN", "TASK", "STATUS", "CREATED", "TOOK"), [_row(run) for run in page.data])


@app.command("get")
def get(run: Run, as_json: AsJson = False, api_url: ApiUrls = None, key: Key = None) -> None:
    """Show everything about a run."""
    from outlast.cli.calls import call
    from outlast.client import runs

    detail = call(connection(api_url, key), runs.retrieve(run))
    if as_json:
        print(detail.model_dump_json(indent=2, exclude_none=True))
    else:
        _show(detail)


@app.command("cancel")
def cancel(run: Run, api_url: ApiUrls = None, key: Key = None) -> None:
    """End a run and its children; code gets 30 s to clean up."""
    from outlast.cli.calls import call
    from outlast.client import runs

    say(f"{call(connection(api_url, key), runs.cancel(run)).id}  is being canceled")


@app.command("delete")
def delete(run: Run, api_url: ApiUrls = None, key: Key = None) -> None:
    """Delete a run that has ended, with its payload, logs and streams."""
    from outlast.cli.calls import call
    from outlast.client import runs

    say(f"{call(connection(api_url, key), runs.delete(run)).id}  is deleted")


@app.command("replay")
def replay(run: Run, api_url: ApiUrls = None, key: Key = None) -> None:
    """Make a run again with what it was given, on the current version."""
    from outlast.cli.calls import call
    from outlast.client import replays

    say(f"{call(connection(api_url, key), replays.replay(run)).id}  replays {run}")


@app.command("reschedule")
def reschedule(run: Run, delay: Delay, api_url: ApiUrls = None, key: Key = None) -> None:
    """Let a delayed run start at another moment."""
    from outlast.cli.calls import call
    from outlast.client import replays

    found = call(connection(api_url, key), replays.reschedule(run, delay))
    say(f"{found.id}  starts at {_moment(found.delayed_until or found.created_at)}")


@app.command("tail")
def tail(run: Run, api_url: ApiUrls = None, key: Key = None) -> None:
    """Follow a run's status and metadata to its end."""
    from outlast.cli.tail import follow

    follow(connection(api_url, key), run)


@app.command("logs")
def logs(run: Run, follow: Follow = False, api_url: ApiUrls = None, key: Key = None) -> None:
    """Show what a run printed and logged."""
    from outlast.cli.tail import show_logs

    show_logs(connection(api_url, key), run, follow=follow)


@app.command("resume")
def resume(run: Run, api_url: ApiUrls = None, key: Key = None) -> None:
    """Let a run that could not replay go on with the current version."""
    from outlast.cli.calls import call
    from outlast.client import runs

    say(f"{call(connection(api_url, key), runs.resume(run)).id}  goes on with the current version")


def _row(run: "ListedRun") -> tuple[str, ...]:
    return (run.id, run.task_identifier, run.status, _moment(run.created_at), _took(run))


def _show(run: "RunDetail") -> None:
    import json

    say(f"{run.id}  {run.task_identifier}", style="bold")
    facts = {
        "status": f"{run.status}{f': {run.reason}' if run.reason else ''}",
        "created": _moment(run.created_at),
        "started": run.started_at and _moment(run.started_at),
        "finished": run.finished_at and _moment(run.finished_at),
        "took": _took(run),
        "attempts": run.attempt_count or None,
        "generation": run.generation if run.generation > 1 else None,
        "version": run.version,
        "queue": run.queue,
        "lane": run.concurrency_key,
        "tags": ", ".join(run.tags) or None,
        "metadata": run.metadata and json.dumps(run.metadata, ensure_ascii=False),
        "payload": json.dumps(run.payload, ensure_ascii=False),
        "output": None if run.output is None else json.dumps(run.output, ensure_ascii=False),
        "error": run.error and _told(run.error),
    }
    for name, value in facts.items():
        if value:
            say(f"  {name:<10}{value}")
    for failed in run.failed_attempts or ():
        say(f"  attempt {failed.number} failed {_moment(failed.failed_at)}  {_told(failed.error)}")
    for child in run.related_runs.children or ():
        say(f"  child     {child.id}  {child.task_identifier}  {child.status}")


def _told(error: "RunErrorBody") -> str:
    """Return an error with its kind and the line of the user's code."""
    more = ", ".join(filter(None, (error.kind, error.line)))
    return f"{error.name}: {error.message}{f' ({more})' if more else ''}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _took(run: "RunBody") -> str:
    if run.started_at is None:
        return "-"
    end = run.finished_at or datetime.now(UTC)
    return duration((end - run.started_at).total_seconds())
