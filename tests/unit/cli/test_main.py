"""The command line as a whole: what it lists, and how its errors look."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlast.cli import main
from outlast.cli.main import app

COMMANDS = [
    "init",
    "dev",
    "server",
    "worker",
    "trigger",
    "runs",
    "projects",
    "keys",
    "doctor",
]


def test_help_lists_every_command() -> None:
    """One line each."""
    shown = CliRunner().invoke(app, ["--help"])

    assert shown.exit_code == 0
    assert all(command in shown.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """Without loading what it needs to run."""
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_python_dash_m_is_the_same_command() -> None:
    """For machines whose scripts are not on the path."""
    shown = _outlast("--version")

    assert (shown.returncode, shown.stdout.strip()) == (0, version("outlast"))


def test_listing_commands_loads_neither_server_nor_database() -> None:
    """Help is quick."""
    listed = subprocess.run(
        [sys.executable, "-c", "import outlast.cli.main, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert {"asyncpg", "fastapi", "uvicorn", "websockets", "httpx", "watchfiles"}.isdisjoint(
        listed.stdout.split()
    )


def test_a_missing_extra_is_one_line_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of a traceback."""

    def run(arguments: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg")

    monkeypatch.setattr(main, "app", run)
    monkeypatch.setattr(sys, "argv", ["outlast", "server"])

    with pytest.raises(SystemExit, match="1"):
        main.main()

    assert 'pip install "outlast[server]"' in capsys.readouterr().err


def test_a_missing_module_of_the_project_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is none of ours."""

    def run(arguments: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'stripe'", name="stripe")

    monkeypatch.setattr(main, "app", run)
    monkeypatch.setattr(sys, "argv", ["outlast", "dev"])

    with pytest.raises(ModuleNotFoundError):
        main.main()


@pytest.mark.parametrize(
    "form", [["--database-url=URL"], ["--database-url", "URL"], ["--app-database", "URL"]]
)
def test_a_password_leaves_the_process_title(
    form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everybody on a machine can read `ps`."""
    url = "postgresql://ada:secret@db/app"
    started: list[tuple[list[str], str]] = []

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        value = arguments[-1].partition("=env:")[2]
        started.append((arguments, environment[value]))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(
        sys, "argv", ["outlast", "dev", *(text.replace("URL", url) for text in form)]
    )

    with pytest.raises(SystemExit):
        main.main()

    assert "secret" not in " ".join(started[0][0])
    assert started[0][1] == url
    assert "env:NAME" in capsys.readouterr().err


def test_inspect_may_leave_its_port_out() -> None:
    """Like `python -m debugpy`, but shorter."""
    assert main._with_port("--inspect") == "--inspect=5678"
    assert main._with_port("--inspect=9229") == "--inspect=9229"


def _outlast(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "outlast", *arguments], capture_output=True, text=True, check=False
    )


def test_dev_takes_the_machines_of_its_environment(tmp_path: Path) -> None:
    """As a worker does; a preset that does not exist ends it before it starts anything."""
    machines = '{"huge": {"cpu": 1, "memory": 1}}'

    done = CliRunner().invoke(
        app, ["dev", "--dir", str(tmp_path)], env={"OUTLAST_MACHINES": machines}
    )

    assert done.exit_code != 0
    assert "machine preset 'huge' does not exist" in str(done.exception)
