"""The pytest plugin as a user's project meets it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
import pytest
from outlast import task, wait

@task()
async def patient(payload: int) -> int:
    await wait.for_(days=payload)
    return payload

@pytest.fixture
def outlast_tasks():
    return [patient]

{marker}
async def test_async(outlast_env):
    assert (await outlast_env.run(patient, 3)).output == 3

def test_sync(outlast_sync_env):
    assert outlast_sync_env.run(patient, 4).output == 4
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:outlast", "-p", "outlast.testing.plugin",
         "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_fixtures_work_in_either_mode_of_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    marker = "@pytest.mark.asyncio" if mode == "strict" else ""
    (tmp_path / "test_project.py").write_text(PROJECT.format(marker=marker))
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
    )

    done = run_pytest(tmp_path, "-W", "error")

    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_who_does_not_use_it_does_not_pay_for_it(tmp_path: Path) -> None:
    """Pytest imports the plugin in every project where outlast is installed."""
    (tmp_path / "test_plain.py").write_text(
        "import sys\n"
        "def test_plain():\n"
        "    heavy = {'asyncpg', 'fastapi', 'uvicorn', 'outlast.engine', 'outlast.server'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )

    done = run_pytest(tmp_path)

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_pytest_finds_the_plugin_by_itself() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert declared["project"]["entry-points"]["pytest11"] == {"outlast": "outlast.testing.plugin"}
