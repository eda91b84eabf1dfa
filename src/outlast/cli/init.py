"""`outlast init`: give a project its settings and a first task."""

import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from outlast.cli.terminal import Stop, say

_SETTINGS = """\
[tool.outlast]
project = "{ref}"
dirs = ["./trigger"]
max_duration = "1h"

[tool.outlast.retries]
enabled_in_dev = true
max_attempts = 3
factor = 2
min_timeout = "1s"
max_timeout = "30s"
"""

_EXAMPLE = '''\
"""A first task: three steps with a wait between them. Kill the worker anywhere; it goes on."""

from pydantic import BaseModel

from outlast import metadata, step, task, wait


class Greeting(BaseModel):
    """What the task needs to know."""

    name: str


@task("hello")
async def hello(payload: Greeting) -> str:
    """Say hello, slowly."""
    words = []
    for number, word in enumerate(("Hello", payload.name, "from a durable task"), start=1):
        words.append(await step(f"say-{number}", say, word))
        metadata.set("said", number)
        await wait.for_(seconds=1)
    return ", ".join(words)


def say(word: str) -> str:
    """Stand for something that must not happen twice: a step runs once and is remembered."""
    print(word)
    return word
'''

Dir = Annotated[Path, typer.Argument(help="The project's folder.")]
Ref = Annotated[
    str | None, typer.Option("--project", "-p", help="The project's ref, proj_…; default: new.")
]


def init(path: Dir = Path(), project: Ref = None) -> None:
    """Write settings into pyproject.toml and a first task into trigger/. Safe to repeat."""
    root = path.resolve()
    if not root.is_dir():
        raise Stop(f"there is no folder {root}")
    if project is not None and not re.fullmatch(r"proj_[a-z0-9_-]{1,59}", project):
        raise Stop(f"{project!r} is no project ref: it starts with proj_, then a-z, 0-9, - and _")
    ref = _settings(root / "pyproject.toml", project)
    _example(root / "trigger")
    say()
    say(f"project {ref} is ready. What next:", style="bold")
    say("  outlast dev                                                start everything here")
    say("""  outlast trigger hello --payload '{"name": "you"}' --wait   in a second terminal""")


def _settings(file: Path, project: str | None) -> str:
    """Add the table to the file unless it is there. Nothing else in the file changes."""
    text = file.read_text() if file.exists() else ""
    try:
        tool = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise Stop(
            f"{file} is not valid TOML: {error}; repair it and run outlast init again"
        ) from None
    if (present := tool.get("outlast")) is not None:
        ref = str(present.get("project", ""))
        if not ref:
            raise Stop(
                f'{file} has [tool.outlast] without a project; add: project = "{_new_ref()}"'
            )
        if project not in {None, ref}:
            raise Stop(f"{file} says project {ref}; change it there if {project} is meant")
        say(f"{file.name}: [tool.outlast] is there, with project {ref}; left as it is")
        return ref
    ref = project or _new_ref()
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    file.write_text(text + gap + _SETTINGS.format(ref=ref))
    say(f"{file.name}: {'added' if text else 'created with'} [tool.outlast], project {ref}")
    return ref


def _example(folder: Path) -> None:
    if folder.is_dir() and any(folder.glob("*.py")):
        say(f"{folder.name}/: has tasks; left as it is")
        return
    folder.mkdir(exist_ok=True)
    (folder / "hello.py").write_text(_EXAMPLE)
    say(f"{folder.name}/hello.py: created, with the task hello")


def _new_ref() -> str:
    alphabet = "abcdefghjkmnpqrstvwxyz0123456789"
    return "proj_" + "".join(secrets.choice(alphabet) for _ in range(20))
