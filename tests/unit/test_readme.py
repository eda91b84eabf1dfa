"""What the README shows works as it stands there."""

import re
from pathlib import Path

import typer

from outlast.cli.main import app
from outlast.sdk.registry import registry
from outlast.worker.findings import find
from outlast.worker.settings import load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


async def test_the_readmes_task_is_discovered(tmp_path: Path) -> None:
    """Pasted into the file that the text names, without a warning."""
    block = re.search(r"```python\n(from outlast .*?)```", README, re.DOTALL)
    assert block is not None
    (tmp_path / "trigger").mkdir()
    (tmp_path / "trigger" / "welcome.py").write_text(block[1])

    found = await find(load_settings(tmp_path, api_urls=["http://127.0.0.1"], secret_key=""))

    assert (found.errors, found.warnings) == ((), ())
    assert found.manifest is not None
    assert [task.id for task in found.manifest.tasks] == ["welcome"]


def test_the_readme_calls_its_task_by_what_it_has() -> None:
    """The block that follows names the task of the first, and is Python."""
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, object] = {}
    with registry.isolated():
        exec(compile(first, "README.md", "exec"), scope)
    calls = re.findall(r"(\w+)\.(\w+)\(", second)

    assert [name for name, _ in calls] == ["welcome", "welcome"]
    assert all(callable(getattr(scope[name], method)) for name, method in calls)


def test_the_readmes_commands_are_there() -> None:
    """Each that the text or its tables write out."""
    written = set(re.findall(r"`outlast ([a-z]+)", README))
    command = typer.main.get_command(app)

    assert written == set(command.commands)  # type: ignore[attr-defined]
