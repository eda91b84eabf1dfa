"""`outlast queues`: look at queues, and steer them."""

from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli.connection import ApiUrls, Key, connection
from outlast.cli.terminal import Stop, duration, say, table

if TYPE_CHECKING:
    from outlast.protocol.queues import QueueBody

app = typer.Typer(help="Look at queues, and steer them.", no_args_is_help=True)

PAGE = 100

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="A name, task/ID, or an id.")]
Some = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="Default: the whole environment.")
]
Limit = Annotated[int | None, typer.Argument(metavar="[LIMIT]", help="Runs per key at once.")]
Reset = Annotated[bool, typer.Option("--reset", help="Let the declared limit count again.")]
AsJson = Annotated[bool, typer.Option("--json", help="As the API has it, for scripts.")]


@app.command("list")
def list_queues(as_json: AsJson = False, api_url: ApiUrls = None, key: Key = None) -> None:
    """List the queues with what runs and waits in them."""
    from outlast.cli.calls import call
    from outlast.client import queues

    found = connection(api_url, key)
    rows: list[QueueBody] = []
    number, pages = 1, 1
    while number <= pages:
        page = call(found, queues.list_page(number, size=PAGE))
        rows += page.data
        number, pages = number + 1, page.pagination.total_pages
    if as_json:
        print(f"[{','.join(row.model_dump_json() for row in rows)}]")
        return
    table(("QUEUE", "RUNNING", "QUEUED", "LIMIT", "STATE"), [_row(row) for row in rows])


@app.command("get")
def get(queue: Queue, as_json: AsJson = False, api_url: ApiUrls = None, key: Key = None) -> None:
    """Show what a queue does and did in the last hour."""
    from outlast.cli.calls import call
    from outlast.client import queues

    found = connection(api_url, key)
    metrics = call(found, queues.metrics(queue))
    if as_json:
        print(metrics.model_dump_json(indent=2))
        return
    body = call(found, queues.retrieve(queue))
    for label, value in (
        ("queue", _shown(body)),
        ("state", "paused" if body.paused else "open"),
        ("running", str(metrics.running)),
        ("queued", str(metrics.queued)),
        ("limit", _limit(body)),
        ("oldest wait", _duration(metrics.oldest_wait)),
        ("delay p95", _duration(metrics.delayP95)),
        ("started", f"{metrics.started} in the last hour"),
    ):
        say(f"{label:12} {value}")


@app.command("pause")
def pause(queue: Some = None, api_url: ApiUrls = None, key: Key = None) -> None:
    """Let no run start. What runs is not touched."""
    _pause(queue, api_url, key, paused=True)


@app.command("resume")
def resume(queue: Some = None, api_url: ApiUrls = None, key: Key = None) -> None:
    """Let runs start again."""
    _pause(queue, api_url, key, paused=False)


@app.command("limit")
def limit(
    queue: Queue,
    limit: Limit = None,
    reset: Reset = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Set how many runs of a key run at once, until it is reset."""
    from outlast.cli.calls import call
    from outlast.client import queues

    if (limit is None) != reset:
        raise Stop("give either a limit or --reset")
    wanted = queues.reset(queue) if limit is None else queues.override(queue, limit)
    body = call(connection(api_url, key), wanted)
    say(f"{_shown(body)}  {_limit(body)}")


def _pause(queue: str | None, api_url: list[str] | None, key: str | None, *, paused: bool) -> None:
    from outlast.cli.calls import call
    from outlast.client import queues

    found = connection(api_url, key)
    done = "is paused" if paused else "goes on"
    if queue is None:
        stand = call(found, queues.pause_environment(paused=paused))
        say(f"{stand.id}  {done}; {stand.running} running, {stand.queued} queued")
        return
    body = call(found, queues.pause(queue, paused=paused))
    say(f"{_shown(body)}  {done}; {body.running} running, {body.queued} queued")


def _row(body: "QueueBody") -> tuple[str, ...]:
    state = "paused" if body.paused else "open"
    return (_shown(body), str(body.running), str(body.queued), _limit(body), state)


def _shown(body: "QueueBody") -> str:
    return f"task/{body.name}" if body.type == "task" else body.name


def _limit(body: "QueueBody") -> str:
    if body.concurrency.override is not None:
        return f"{body.concurrency.override} (set; declared {_or_none(body.concurrency.base)})"
    return _or_none(body.concurrency_limit)


def _or_none(limit: int | None) -> str:
    return "-" if limit is None else str(limit)


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
