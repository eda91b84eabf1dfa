"""`outlast worker`: run a project's tasks."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli.connection import ApiUrls, Key, connection
from outlast.cli.terminal import Stop

if TYPE_CHECKING:
    from outlast.worker.settings import WorkerSettings

Dir = Annotated[Path, typer.Option("--dir", help="The project's folder.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        envvar="OUTLAST_TASKS",
        help="Folder or dotted package with tasks; repeatable.",
    ),
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="How many `def` runs execute at once; default: CPUs.")
]
Loops = Annotated[
    int | None, typer.Option(min=1, help="Processes that share the `async def` runs.")
]
Drain = Annotated[float | None, typer.Option(min=0, help="Seconds for runs to end after SIGTERM.")]
Name = Annotated[str | None, typer.Option(help="What the worker is called in lists and logs.")]
Machines = Annotated[
    str,
    typer.Option(
        envvar="OUTLAST_MACHINES",
        help='Machine presets to replace, as JSON: {"small-1x": {"cpu": 1, "memory": 0.75}}.',
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def worker(
    folder: Dir = Path(),
    tasks: Tasks = None,
    api_url: ApiUrls = None,
    key: Key = None,
    processes: Processes = None,
    loops: Loops = None,
    drain: Drain = None,
    name: Name = None,
    machines: Machines = "",
    log_level: LogLevel = "info",
) -> None:
    """Run the tasks of a project; connects out to the server."""
    from outlast.loops import new_runner
    from outlast.protocol.machines import presets
    from outlast.telemetry import logs
    from outlast.worker.cgroups import ROOT
    from outlast.worker.settings import load_settings

    found = connection(api_url, key)
    logs.install(log_level)
    try:
        settings = load_settings(
            folder.resolve(),
            api_urls=found.api_urls,
            secret_key=found.secret_key,
            dirs=tasks,
            processes=processes,
            loops=loops,
            drain=drain,
            name=name,
            machines=presets(machines),
            cgroups=ROOT,
        )
    except ValueError as error:
        raise Stop(str(error)) from error
    with new_runner() as runner:
        runner.run(_work(settings))


async def _work(settings: "WorkerSettings") -> None:
    from outlast.cli.lines import Line, Lines, line
    from outlast.cli.signals import stop_signals
    from outlast.loops import collect_rarely
    from outlast.worker.events import Ready, WorkerEvent
    from outlast.worker.supervisor import run_worker

    lines = Lines(asyncio.get_running_loop())

    def show(event: WorkerEvent) -> None:
        if isinstance(event, Ready):
            collect_rarely()
            lines.add(Line(f"version {event.version} on {event.server} ({event.environment})"))
            lines.add(Line("Waiting for tasks"))
        elif (shown := line(event)) is not None:
            lines.add(shown)

    kill = asyncio.Event()
    draining = f"stopping: runs have {settings.drain:g} s to reach their next entry …"
    with stop_signals(draining, kill=kill) as stop:
        try:
            await run_worker(settings, on_event=show, stop=stop, kill=kill)
        finally:
            lines.flush()
