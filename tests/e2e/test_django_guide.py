"""What the guide to Django shows works: a small project of it, `outlast dev`, and its views."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from outlast import runs
from programs import Program, bare_environment, free_port, outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "django.md"
FILES = {
    "pyproject.toml": '[tool.outlast]\nproject = "proj_shop"\n',
    "shop/__init__.py": "",
    "shop/settings.py": """
from pathlib import Path

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["orders"]
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parents[1] / "shop.db",
    }
}
""",
    "shop/urls.py": """
from django.urls import path

from orders import views

urlpatterns = [path("orders", views.create)]
""",
    "orders/__init__.py": "",
    "orders/models.py": """
from django.db import models


class Order(models.Model):
    customer = models.TextField()
    total = models.IntegerField()
""",
    **dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", GUIDE.read_text(), re.DOTALL)),
}
BROWSER = """
import json

import django

django.setup()

from django.test import Client

sold = Client().post("/orders", {"customer": "Ada", "total": "7"})
refused = Client(raise_request_exception=False).post("/orders", {"customer": "Bo", "total": "?"})
print(json.dumps([sold.json(), refused.status_code]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the Django project, with its tables."""
    for name, source in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    _python(tmp_path, "-m", "django", "migrate", "--run-syncdb")
    return tmp_path


@pytest.fixture
def dev(project: Path, fresh_url: str) -> Iterator[Program]:
    """Start `outlast dev` beside it."""
    settings = {"OUTLAST_DATABASE_URL": fresh_url, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    with outlast("dev", "--port", free_port(), cwd=project, **settings) as program:
        yield program


@pytest.mark.usefixtures("app")
async def test_a_view_triggers_after_its_commit_and_not_after_a_rollback(project: Path) -> None:
    """The row is there when the worker looks for it; a refused order gets no run."""
    printed = await asyncio.to_thread(_python, project, "-c", BROWSER)
    sold, refused = json.loads(printed)
    assert refused == 500

    async def found() -> dict[str, str]:
        return {run.task_identifier: run.id async for run in runs.list()}

    made = await found()
    assert set(made) == {"send-receipt", "ask-for-review"}
    await _until(made["send-receipt"], "COMPLETED")
    receipt = await runs.retrieve(made["send-receipt"])
    assert receipt.output == "Ada has paid 7"
    assert receipt.tags == (f"order:{sold['order']}",)
    await _until(made["ask-for-review"], "WAITING")


async def _until(run: str, status: str) -> None:
    async with aclosing(runs.subscribe(run)) as updates:
        async for update in updates:
            if update.status == status:
                return
    raise AssertionError(f"{run} has ended without being {status}")


def _python(project: Path, *arguments: str) -> str:
    """Run Python as the web server of the project would."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**bare_environment(), "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
