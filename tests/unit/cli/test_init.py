"""`outlast init`: settings and a first task, without touching what is there."""

import ast
import tomllib
from pathlib import Path

import pytest

from outlast.cli.init import init
from outlast.cli.terminal import Stop


def test_an_empty_folder_gets_settings_and_a_task_that_parses(tmp_path: Path) -> None:
    """The newcomer's first minute."""
    init(tmp_path)

    settings = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["outlast"]
    assert settings["project"].startswith("proj_")
    assert settings["dirs"] == ["./trigger"]
    ast.parse((tmp_path / "trigger" / "hello.py").read_text())


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    """Confirming, not generating."""
    init(tmp_path)
    before = _contents(tmp_path)

    init(tmp_path)

    assert _contents(tmp_path) == before


@pytest.mark.parametrize("present", ['[project]\nname = "shop"\n', '[project]\nname = "shop"', ""])
def test_what_stands_in_pyproject_is_kept(tmp_path: Path, present: str) -> None:
    """The table is appended."""
    file = tmp_path / "pyproject.toml"
    file.write_text(present)

    init(tmp_path, "proj_shop")

    text = file.read_text()
    assert text.startswith(present)
    assert tomllib.loads(text)["tool"]["outlast"]["project"] == "proj_shop"


def test_tasks_that_are_there_stay_alone(tmp_path: Path) -> None:
    """No example is put beside them."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / "trigger" / "mine.py").write_text("")

    init(tmp_path)

    assert [path.name for path in (tmp_path / "trigger").iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("content", "project", "message"),
    [
        ("[tool", None, "not valid TOML"),
        ("[tool.outlast]\n", None, 'add: project = "proj_'),
        ('[tool.outlast]\nproject = "proj_a"\n', "proj_b", "says project proj_a"),
        ("", "shop", "starts with proj_"),
    ],
)
def test_what_init_will_not_guess_is_an_error_with_the_fix(
    tmp_path: Path, content: str, project: str | None, message: str
) -> None:
    """And the file stays as it was."""
    file = tmp_path / "pyproject.toml"
    file.write_text(content)

    with pytest.raises(Stop, match=message.replace("(", r"\(")):
        init(tmp_path, project)

    assert file.read_text() == content


def test_the_smallest_example_is_what_init_makes(tmp_path: Path) -> None:
    """So that it is type-checked and run with everything else."""
    example = Path(__file__).parents[3] / "examples" / "hello"

    init(tmp_path, "proj_hello")

    for name in ("pyproject.toml", "trigger/hello.py"):
        assert (example / name).read_text() == (tmp_path / name).read_text()


def _contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
