"""`outlast env`: the environment variables that runs get from the server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from outlast.cli.connection import ApiUrls, Connection, Key, connection
from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop, say, table

app = typer.Typer(help="Keep the environment variables of runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name.")]
Value = Annotated[
    str | None,
    typer.Argument(metavar="[VALUE]", help="Left out: asked for, or read from standard input."),
]
Source = Annotated[str | None, typer.Option("--from", help="The value, as env:NAME or file:PATH.")]
Text = Annotated[Path, typer.Argument(metavar="FILE", help="A .env file; - for standard input.")]
Secret = Annotated[bool, typer.Option("--secret", help="Never show the value again.")]
Override = Annotated[bool, typer.Option("--override", help="Replace what is there.")]
Values = Annotated[bool, typer.Option("--show-values", help="Show those that are not secret.")]
Project = Annotated[str | None, typer.Option(help="The project's ref; default: that of the key.")]
Slug = Annotated[str | None, typer.Option("--env", help="dev, stg or prod; default: the key's.")]


@app.command("list")
def list_variables(
    show_values: Values = False,
    project: Project = None,
    env: Slug = None,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """List the variables by name."""
    from outlast.cli.calls import call
    from outlast.client import variables

    found = connection(api_url, key)
    rows = [
        (
            one.name,
            "secret" if one.is_secret else one.value if show_values else "***",
            f"{one.updated_at:%Y-%m-%d %H:%M}" if one.updated_at else "",
        )
        for one in call(found, variables.list_all(*_where(found, project, env)))
    ]
    table(("NAME", "VALUE", "CHANGED"), rows)


@app.command("set")
def set_variable(
    name: Name,
    value: Value = None,
    source: Source = None,
    secret: Secret = False,
    project: Project = None,
    env: Slug = None,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Write one variable, new or not."""
    if value is not None and source is not None:
        raise Stop("give the value, or --from, not both")
    found = connection(api_url, key)
    where = _where(found, project, env)
    text = resolve(source, "--from") if source is not None else value
    _write(found, where, {name: _ask(name) if text is None else text}, secret, override=True)


@app.command("unset")
def unset(
    name: Name,
    project: Project = None,
    env: Slug = None,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Delete a variable."""
    from outlast.cli.calls import call
    from outlast.client import variables

    found = connection(api_url, key)
    call(found, variables.delete(*_where(found, project, env), name))
    say(f"{name} is deleted")


@app.command("import")
def import_file(
    file: Text,
    override: Override = False,
    secret: Secret = False,
    project: Project = None,
    env: Slug = None,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Write all variables of a .env file, or none."""
    from outlast.protocol.dotenv import DotenvError, parse

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        variables = parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{file} cannot be read: {type(error).__name__}") from error
    except DotenvError as error:
        raise Stop(f"{file}: {error}") from error
    if not variables:
        raise Stop(f"{file} has no variables")
    found = connection(api_url, key)
    _write(found, _where(found, project, env), variables, secret, override=override)


def _write(
    found: Connection,
    where: tuple[str, str],
    values: dict[str, str],
    secret: bool,
    *,
    override: bool,
) -> None:
    from outlast.cli.calls import call
    from outlast.client import variables

    call(found, variables.upload(*where, values, override=override, secret=secret))
    say(f"{', '.join(sorted(values))}: stored in {where[1]}; new processes get it")


def _where(found: Connection, project: str | None, env: str | None) -> tuple[str, str]:
    """Return project and environment: what was said, else those of the key."""
    if project is not None and env is not None:
        return project, env
    from outlast.cli.calls import call
    from outlast.client import environment

    own = call(found, environment.retrieve())
    return project or own.project, env or own.slug


def _ask(name: str) -> str:
    """Return a value that is on no command line, where `ps` and the shell's history see it."""
    if not sys.stdin.isatty():
        return sys.stdin.read().removesuffix("\n")
    answer: str = typer.prompt(f"{name}", hide_input=True, default="", show_default=False)
    return answer
