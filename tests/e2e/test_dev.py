"""`outlast dev` as a newcomer meets it: real processes, a real database, the printed lines."""

import json
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from outlast import tasks
from outlast.cli.folder import Folder
from outlast.engine.embedded import EmbeddedServer
from outlast.sdk.outbox import ddl
from polling import until
from programs import Program, free_port, outlast, run_outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

TASKS = '''\
"""Tasks of a test."""

from pathlib import Path

from pydantic import BaseModel

from outlast import step, task, wait

TRACE = Path(__file__).parent.parent / "trace.txt"


class Greeting(BaseModel):
    name: str


@task("hello")
async def hello(payload: Greeting) -> str:
    return f"Hello, {payload.name}"


@task("patient")
async def patient(payload: Greeting) -> str:
    first = await step("first", note, "first")
    await wait.for_(seconds=WAIT)
    second = await step("second", note, "second")
    return f"{first} {second} VERSION"


def note(what: str) -> str:
    with TRACE.open("a") as trace:
        trace.write(what + "\\n")
    return what
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project in a folder that is hard on careless code."""
    root = tmp_path / ("my app " + "x" * 160)
    (root / "trigger").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_test"\n')
    _write(root)
    return root


@pytest.fixture
def dev(project: Path, fresh_url: str) -> Iterator[Program]:
    """Start `outlast dev` on the test's own database."""
    with outlast("dev", "--port", free_port(), cwd=project, OUTLAST_DATABASE_URL=fresh_url) as dev:
        yield dev


async def test_it_waits_for_tasks_and_runs_them(project: Path, dev: Program) -> None:
    """Two terminals: one line per run in the first, the output in the second."""
    await dev.says("Waiting for tasks")

    code, printed = await run_outlast(
        "trigger", "hello", "--payload", '{"name": "Ada"}', "--wait", cwd=project
    )

    assert code == 0, printed
    assert '"Hello, Ada"' in printed
    await dev.says("✔ hello  run_")
    assert "Tasks      hello, patient" in dev.output
    _, listed = await run_outlast("runs", "list", cwd=project)
    assert "COMPLETED" in listed
    elsewhere = ("--queue", "elsewhere", "--period", "1d")
    assert "run_" not in (await run_outlast("runs", "list", *elsewhere, cwd=project))[1]


async def test_scripts_find_it_in_dev_json(project: Path, dev: Program) -> None:
    """Which is private, and gone after a clean end."""
    await dev.says("Waiting for tasks")
    file = project / ".outlast" / "dev.json"
    address = json.loads(file.read_text())

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert set(address) == {"api_url", "dashboard_url", "project_ref", "secret_key", "pid"}
    assert (address["project_ref"], address["pid"]) == ("proj_test", dev.process.pid)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{address['api_url']}/healthz")).is_success

    dev.interrupt()
    assert await dev.ended() == 0, dev.output
    assert not file.exists()


async def test_it_delivers_what_the_app_commits(project: Path, fresh_url: str) -> None:
    """Also when the table comes later than `outlast dev`."""
    urls = {"OUTLAST_DATABASE_URL": fresh_url, "OUTLAST_OUTBOX_DATABASE_URL": fresh_url}
    with outlast("dev", "--port", free_port(), cwd=project, **urls) as dev:
        await dev.says("outbox: this database has no table outlast_outbox")
        await dev.says("Waiting for tasks")
        app = await asyncpg.connect(fresh_url)
        await app.execute(ddl())
        async with app.transaction():
            await tasks.trigger("hello", {"name": "Ada"}, connection=app)
        await app.close()

        await dev.says("✔ hello  run_")


async def test_nothing_outside_of_its_folder_changes(project: Path, dev: Program) -> None:
    """Neither modes nor files."""
    before = _modes(project)

    await dev.says("Waiting for tasks")

    after = {path: mode for path, mode in _modes(project).items() if "__pycache__" not in path}
    assert after == {path: mode for path, mode in before.items() if "__pycache__" not in path}


async def test_a_second_one_in_the_folder_says_so_and_leaves(
    project: Path, dev: Program, fresh_url: str
) -> None:
    """And the first goes on."""
    await dev.says("Waiting for tasks")

    code, printed = await run_outlast("dev", cwd=project, OUTLAST_DATABASE_URL=fresh_url)

    assert code == 1
    assert f"already runs in {project}" in printed
    assert f"pid {dev.process.pid}" in printed
    assert dev.process.poll() is None


async def test_a_taken_port_moves_to_the_next_and_says_so(project: Path, fresh_url: str) -> None:
    """A newcomer has other things running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with outlast(
            "dev", "--port", str(port), cwd=project, OUTLAST_DATABASE_URL=fresh_url
        ) as dev:
            await dev.says(f"port {port} is taken; this is")
            await dev.says("Waiting for tasks")

            address = Folder(project).path / "dev.json"
            assert f":{port}" not in json.loads(address.read_text())["api_url"]


async def test_changed_code_is_a_new_version_that_running_runs_go_on_with(
    project: Path, dev: Program
) -> None:
    """By replay: the finished step is not executed again."""
    _write(project, wait=12)  # longer than a new version takes on a busy machine
    await dev.says("Waiting for tasks")
    code, printed = await run_outlast("trigger", "patient", "-p", '{"name": "Ada"}', cwd=project)
    assert code == 0, printed
    await until(lambda: _trace(project) == ["first"], seconds=20, what=dev.output)

    _write(project, wait=12, version="two")

    await dev.says("Version ")
    await dev.says("✔ patient", seconds=60)
    run = printed.split()[0]
    _, shown = await run_outlast("runs", "get", run, cwd=project)
    assert "first second two" in shown
    assert _trace(project) == ["first", "second"]


async def test_a_broken_file_keeps_the_last_good_version(project: Path, dev: Program) -> None:
    """A syntax error in the middle of an edit stops nothing."""
    await dev.says("Waiting for tasks")

    (project / "trigger" / "tasks.py").write_text("def half(:\n")

    await dev.says("trigger/tasks.py:1: SyntaxError")
    code, printed = await run_outlast(
        "trigger", "hello", "-p", '{"name": "Ada"}', "--wait", cwd=project
    )
    assert code == 0, printed


async def test_unfinished_runs_go_on_after_everything_was_killed(
    project: Path, fresh_url: str
) -> None:
    """Server, worker and executors at once; the second start needs no hint."""
    _write(project, wait=2)
    environment = {"OUTLAST_DATABASE_URL": fresh_url}
    with outlast("dev", "--port", free_port(), cwd=project, **environment) as first:
        await first.says("Waiting for tasks")
        key = json.loads((project / ".outlast" / "dev.json").read_text())["secret_key"]
        await run_outlast("trigger", "patient", "-p", '{"name": "Ada"}', cwd=project)
        await until(lambda: _trace(project) == ["first"], seconds=20, what=first.output)
        first.kill()

    with outlast("dev", "--port", free_port(), cwd=project, **environment) as second:
        await second.says("✔ patient", seconds=60)

        kept = json.loads((project / ".outlast" / "dev.json").read_text())["secret_key"]
        assert kept == key
        assert _trace(project) == ["first", "second"]


async def test_it_brings_its_own_postgresql_even_after_a_kill(project: Path) -> None:
    """Twice, because the second start finds the data of the first."""
    try:
        with outlast("dev", "--port", free_port(), cwd=project) as first:
            await first.says("Waiting for tasks", seconds=90)
            first.kill()
        with outlast("dev", "--port", free_port(), cwd=project) as second:
            await second.says("Waiting for tasks", seconds=60)
            second.interrupt()
            assert await second.ended(seconds=30) == 0, second.output
    finally:
        await _remove_database(project)


async def test_a_page_of_another_name_or_origin_gets_nothing(project: Path, dev: Program) -> None:
    """Rebinding a name to this machine does not open it."""
    await dev.says("Waiting for tasks")
    address = json.loads((project / ".outlast" / "dev.json").read_text())
    url, key = address["api_url"], address["secret_key"]

    async with httpx.AsyncClient(base_url=url, trust_env=False, follow_redirects=True) as client:
        rebound = await client.get("/runs", headers={"host": "evil.example"})
        posted = await client.post("/runs", headers={"origin": "http://evil.example"})
        shown = await client.get("/runs")

    assert rebound.status_code == 421
    assert posted.status_code == 403
    assert shown.status_code == 200
    assert key not in rebound.text + posted.text + shown.text


def _write(root: Path, *, wait: float = 0.1, version: str = "one") -> None:
    text = TASKS.replace("WAIT", str(wait)).replace("VERSION", version)
    (root / "trigger" / "tasks.py").write_text(text)


def _trace(root: Path) -> list[str]:
    file = root / "trace.txt"
    return file.read_text().split() if file.exists() else []


def _modes(project: Path) -> dict[str, int]:
    places = [project, *project.parents, *project.rglob("*")]
    own = project / ".outlast"
    return {
        str(path): path.stat().st_mode
        for path in places
        if path != own and own not in path.parents and path.exists()
    }


async def _remove_database(project: Path) -> None:
    server = EmbeddedServer(project / ".outlast")
    await server.start()  # adopts what a killed owner left, so that it can be stopped
    await server.stop()
    if os.geteuid() == 0:
        shutil.rmtree(server.home)
