"""What `make dev` and `make demo` start, as processes: everything comes up, and nothing is left."""

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from polling import until
from programs import free_port, python, run_outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "saas"


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the example: what it makes lands there, and a failed test's ends here."""
    skipped = shutil.ignore_patterns(".outlast", "__pycache__", ".env")
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "saas", ignore=skipped))
    yield folder
    for pid in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes_of(folder: Path) -> set[int]:
    """Return the processes that work in a folder."""
    found = set[int]()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(folder):
                found.add(int(entry.name))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def another_worker(example: Path, worker: str) -> bool:
    return (example / ".outlast" / "worker.pid").read_text() not in ("", worker)


async def test_dev_brings_everything_up_and_ctrl_c_leaves_nothing(
    example: Path, database_url: str
) -> None:
    ports = ("--port", free_port(), "--platform-port", free_port())
    with python("dev.py", *ports, cwd=example, OUTLAST_DATABASE_URL=database_url) as dev:
        await dev.says("a change in trigger", seconds=120)  # the last line of all
        inspector, dashboard, mailbox, provider = (
            re.search(rf"{name} +(http\S+)", dev.output)[1]  # type: ignore[index]
            for name in ("inspector", "dashboard", "mailbox", "provider")
        )
        async with httpx.AsyncClient(follow_redirects=True, timeout=30) as browser:
            assert "Sign in" in (await browser.get(f"{inspector}/inspector")).text
            assert "No mail has arrived yet" in (await browser.get(mailbox)).text
            assert "Invalid API Key" in (await browser.get(f"{provider}/v1/subscriptions")).text
            arrived = await browser.get(dashboard)
        assert "This link logs you in once" in arrived.text
        code, listed = await run_outlast("runs", "list", cwd=example)
        assert code == 0, listed

        worker = (example / ".outlast" / "worker.pid").read_text()
        with (example / "trigger" / "notify_org_members.py").open("a") as task:
            task.write("# changed\n")
        await dev.says("trigger/notify_org_members.py changed")
        await until(lambda: another_worker(example, worker), seconds=60, what=dev.output)

        left = processes_of(example)
        assert len(left) > 2
        dev.interrupt()
        dev.interrupt()  # who is impatient must not leave processes behind
        assert await dev.ended(seconds=60) == 0, dev.output
        await until(lambda: not processes_of(example), what=dev.output)
    assert not (example / ".outlast" / "dev.json").exists()
    assert not (example / ".outlast" / "worker.pid").exists()


async def test_a_killed_dev_takes_server_and_worker_along(example: Path, database_url: str) -> None:
    """As a power cut would end it: it stops nobody, and its ports are free for the next one."""
    ports = ("--port", free_port(), "--platform-port", free_port())
    with python("dev.py", *ports, cwd=example, OUTLAST_DATABASE_URL=database_url) as dev:
        await dev.says("a change in trigger", seconds=120)
        assert len(processes_of(example)) > 2

        dev.kill()

        await until(lambda: not processes_of(example), what=dev.output)


async def test_the_demo_survives_the_kill_and_ends(example: Path, database_url: str) -> None:
    """Without a terminal it ends after its checks, each of which it prints."""
    with python("demo.py", cwd=example, OUTLAST_DATABASE_URL=database_url, ROWS="75") as demo:
        assert await demo.ended(seconds=180) == 0, demo.output
        await until(lambda: not processes_of(example), what=demo.output)

    assert "kill -9" in demo.output
    assert demo.output.count("✔") == 7
    assert "✘" not in demo.output


async def test_a_demo_that_is_told_to_stop_leaves_nothing(example: Path, database_url: str) -> None:
    with python("demo.py", cwd=example, OUTLAST_DATABASE_URL=database_url) as demo:
        await demo.says("run run_", seconds=120)
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ended(seconds=60) == 130, demo.output
        await until(lambda: not processes_of(example), what=demo.output)
