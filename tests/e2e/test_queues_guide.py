"""What the guide about queues and the page of trigger options show works as it stands there."""

import re
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outlast import queues, runs
from programs import Program, run_outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "guides" / "queues.md").read_text()
OPTIONS = (DOCS / "reference" / "trigger-options.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE + OPTIONS, re.DOTALL)
TASKS = """
from outlast import task

@task("send-reminder")
async def send_reminder(user: str) -> str:
    return user

@task("index-document")
async def index_document(text: str) -> str:
    return text
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task of the guide, and those that the reference speaks of."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_guides"\n')
    [declared] = [block for block in BLOCKS if "@task" in block]
    (tmp_path / "trigger" / "shown.py").write_text(declared)
    (tmp_path / "trigger" / "others.py").write_text(TASKS)
    return tmp_path


def function(name: str) -> Callable[..., Awaitable[Any]]:
    """Return a function that an app of the guide has."""
    [block] = [block for block in BLOCKS if f"def {name}(" in block]
    scope: dict[str, Any] = {}
    exec(compile(block, name, "exec"), scope)
    found: Callable[..., Awaitable[Any]] = scope[name]
    return found


async def test_the_guide_about_queues_works(project: Path, app: Program) -> None:
    export, maintenance = function("export"), function("maintenance")

    assert await maintenance(begins=True) == 0
    held = await export("org_1", "user_1")
    assert (await queues.retrieve("export")).queued == 1
    assert "paused" in str((await runs.retrieve(held)).reason)
    await maintenance(begins=False)
    assert await runs.result(held, timeout=60) == "invoices of org_1"

    stripe = await queues.retrieve("stripe")
    assert (stripe.total_limit, stripe.max_queued) == (20, 50_000)
    assert stripe.rate is not None
    assert (stripe.rate.interval, stripe.rate.burst, stripe.rate.per) == (0.6, 20, "queue")


async def test_the_commands_of_the_guide_work(project: Path, app: Program) -> None:
    [shown] = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in shown.splitlines()]

    for command in commands:
        code, output = await run_outlast(*command, cwd=project)
        assert code == 0, f"{command}: {output}"

    assert (await queues.retrieve("export")).concurrency.override == 5


async def test_the_examples_of_the_trigger_options_work(project: Path, app: Program) -> None:
    remind, saved, forget = function("remind"), function("saved"), function("forget")

    first = await remind("ada")
    assert await remind("ada") == first
    await forget("ada")
    assert await remind("ada") != first
    detail = await runs.retrieve(first)
    assert (detail.status, detail.ttl, detail.tags) == ("DELAYED", "600s", ("user_ada",))
    assert detail.metadata == {"by": "the app"}

    indexed = await saved("doc_1", "a draft")
    assert await saved("doc_1", "the last text") == indexed
    assert await runs.result(indexed, timeout=60) == "the last text"
