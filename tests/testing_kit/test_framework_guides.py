"""What the README and the guides to frameworks and from Celery show works as it stands there."""

import ast
import asyncio
import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from outlast import Task, schedules
from outlast.sdk.registry import registry
from outlast.testing import Platform, SyncPlatform

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@contextmanager
def shown(guide: str, folder: Path, *names: str) -> Iterator[list[ModuleType]]:
    """Write the guide's named files, import some of them, and forget them at the end."""
    for file, source in re.findall(
        r"```python\n# (\S+\.py)\n(.*?)```", (GUIDES / guide).read_text(), re.DOTALL
    ):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(source)
    for package in {Path(name.replace(".", "/")).parent for name in names} - {Path()}:
        # a folder without it yields to a package of its name anywhere on the path
        (folder / package / "__init__.py").touch()
    with registry.isolated(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for module in _of(names):  # other tests have modules of these names too
            patch.delitem(sys.modules, module)
        try:
            yield [importlib.import_module(name) for name in names]
        finally:
            for module in _of(names):
                del sys.modules[module]


def _of(names: tuple[str, ...]) -> list[str]:
    """Return the loaded modules of the packages that the names lie in."""
    tops = {name.partition(".")[0] for name in names}
    return [module for module in sys.modules if module.partition(".")[0] in tops]


async def test_the_app_of_the_fastapi_guide_works(tmp_path: Path) -> None:
    with shown("fastapi.md", tmp_path, "trigger.welcome", "app") as (tasks, module):
        async with (
            Platform(tasks=[tasks.welcome, tasks.digest]) as env,
            module.app.router.lifespan_context(module.app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(module.app), base_url="http://app"
            ) as browser,
        ):
            first = await browser.post("/signups", json={"email": "ada@example.com"})
            again = await browser.post("/signups", json={"email": "ada@example.com"})
            later = await browser.post("/reminders", json={"email": "ada@example.com"})

            assert (first.status_code, later.status_code) == (202, 202)
            assert again.json()["run"] == first.json()["run"]
            assert first.json()["token"].count(".") == 2
            assert (await env.result(first.json()["run"])).output == "welcome, ada@example.com"
            assert len([one async for one in schedules.list(external_id="ada@example.com")]) == 1
            run = await browser.get(f"/runs/{first.json()['run']}")
            assert run.json() == {"status": "COMPLETED"}
            assert (await browser.get("/runs/run_nobody")).status_code == 404
            await env.advance(days=1)
            assert (await env.result(later.json()["run"])).output == "welcome, ada@example.com"
            env.assert_triggered(tasks.digest, count=1)


def test_what_the_views_of_the_flask_guide_call_works(tmp_path: Path) -> None:
    """All but the two views themselves, which only pass values on."""
    with (
        shown("flask.md", tmp_path, "trigger.invoices", "billing") as (tasks, billing),
        SyncPlatform(tasks=[tasks.send_invoice, tasks.remind_of_invoice]) as env,
    ):
        run = billing.send(7)
        assert billing.send(7) == run
        assert billing.remind_monthly("ada") == billing.remind_monthly("ada")
        assert env.result(run).output == "invoice 7 sent"
        assert billing.status(run) == "COMPLETED"


async def test_the_task_of_the_celery_guide_works() -> None:
    [source] = re.findall(
        r"```python\n(.*?)```", (GUIDES / "from-celery.md").read_text(), re.DOTALL
    )
    scope: dict[str, Any] = {"__name__": __name__}
    with registry.isolated():
        exec(compile(source, "from-celery.md", "exec"), scope)
    order: Task[str, str] = scope["order"]

    async with Platform(tasks=[order]) as env:
        began = env.now
        result = await env.run(order, "a book")

        assert result.output == "charge of a book"
        assert (env.now - began).days == 14


async def test_the_ten_lines_of_the_readme_work() -> None:
    readme = (GUIDES.parents[1] / "README.md").read_text()
    declared, called = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    first, second = called.splitlines()
    scope: dict[str, Any] = {"__name__": __name__}
    with registry.isolated():
        exec(compile(declared, "README.md", "exec"), scope)

    async with Platform(tasks=[scope["welcome"]]) as env:
        began = env.now
        await eval(compile(first, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), scope)
        result = await env.result(scope["handle"])
        assert (result.output, (env.now - began).days) == ("tips sent to account of Ada", 3)

        await asyncio.to_thread(exec, second, scope)
        assert (await env.result(scope["handle"])).output == "tips sent to account of Ada"
