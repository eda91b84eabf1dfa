"""What the guide about metadata and logs shows works as it stands there."""

import importlib.util
import re
from pathlib import Path

import pytest

from outlast import runs, tasks
from programs import Program, run_outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "metadata-and-logs.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task and the settings of the guide."""
    (tmp_path / "trigger").mkdir()
    [settings] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(f'[tool.outlast]\nproject = "proj_m"\n{settings}')
    for number, block in enumerate(BLOCKS):
        (tmp_path / "trigger" / f"shown_{number}.py").write_text(block)
    return tmp_path


async def test_the_guide_about_metadata_and_logs_works(app: Program, project: Path) -> None:
    imported = await tasks.trigger("import-pages", 3)
    assert await imported.result(timeout=30) == 3
    found = await runs.retrieve(imported.id)
    assert found.tags == ("org:acme",)
    assert found.metadata == {
        "stage": "done",
        "note": None,
        "pages": {"total": 3, "done": 3},
        "titles": ["page 1", "page 2"],
        "reads": 3,
    }

    album = await tasks.trigger("album", ["a", "b", "c", "d"])
    assert await album.result(timeout=30) == 4
    metadata = (await runs.retrieve(album.id)).metadata
    assert metadata is not None
    assert sorted(metadata["names"]) == ["a", "b", "c", "d"]  # type: ignore[type-var, arg-type]
    assert metadata["last"] in ("a", "b", "c", "d")

    spec = importlib.util.spec_from_file_location("shown", project / "trigger" / "shown_2.py")
    assert spec is not None
    assert spec.loader is not None
    shown = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shown)
    await shown.pause(album.id)
    changed = await runs.retrieve(album.id)
    assert (changed.metadata or {})["paused"] is True
    assert changed.tags == ("paused",)


async def test_the_lines_of_the_guide_are_what_the_command_shows(
    app: Program, project: Path
) -> None:
    sold = await tasks.trigger("sell", "bread")
    _, shown = await run_outlast("runs", "logs", sold.id, "--follow", cwd=project)

    [expected] = re.findall(r"```\n(LOG .*?)```", GUIDE, re.DOTALL)
    assert [line.partition("  ")[2] for line in shown.splitlines()] == expected.splitlines()
    await app.says("selling bread")
    await app.says("INFO  charging")
