"""Discovery imports every task module once and tells what it found, errors included."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from outlast.worker.findings import Findings, Scope, find
from outlast.worker.settings import WorkerSettings

TASK = """
from outlast import task

@task("{id}")
async def run(payload: int) -> int:
    return payload
"""


class Project:
    """A folder with task modules, discovered in a fresh process."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def task(self, path: str, name: str, *, before: str = "") -> None:
        self.write(path, textwrap.dedent(before) + TASK.format(id=name))

    def discover(self, *dirs: str) -> Findings:
        scope = Scope(root=str(self.root), dirs=dirs or ("trigger",))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "outlast.worker.discovery"),
                *("--config", msgspec.json.encode(scope).decode()),
            ],
            check=True,
            capture_output=True,
            timeout=30,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )
        return msgspec.json.decode(done.stdout, type=Findings)

    def ids(self, *dirs: str) -> list[str]:
        findings = self.discover(*dirs)
        assert findings.errors == ()
        assert findings.manifest is not None
        return [task.id for task in findings.manifest.tasks]

    def digest(self) -> str:
        manifest = self.discover().manifest
        assert manifest is not None
        return manifest.digest


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_finds_tasks_in_nested_folders_and_leaves_tests_alone(project: Project) -> None:
    project.task("trigger/orders.py", "orders")
    project.task("trigger/mail/send.py", "send")
    project.task("trigger/test_orders.py", "a-test")
    project.task("trigger/orders_test.py", "another-test")
    project.task("trigger/conftest.py", "fixtures")
    project.task("trigger/.hidden/x.py", "hidden")

    findings = project.discover()

    assert findings.errors == ()
    assert findings.manifest is not None
    assert [task.id for task in findings.manifest.tasks] == ["orders", "send"]
    assert findings.manifest.tasks[0].file == "trigger/orders.py"
    assert findings.manifest.runtime == f"python {sys.version.split()[0]}"


def test_imports_init_first_and_then_by_name(project: Project) -> None:
    note = "from pathlib import Path\nPath({!r}).open('a').write(__name__ + ' ')\n"
    log = str(project.root / "log")
    for name in ("b", "init", "a"):
        project.task(f"trigger/{name}.py", name, before=note.format(log))

    project.discover()

    assert Path(log).read_text().split() == ["trigger.init", "trigger.a", "trigger.b"]


def test_a_module_that_others_import_exists_once(project: Project) -> None:
    project.task("trigger/a.py", "a", before="import trigger.b\nfrom app import value\n")
    project.task("trigger/b.py", "b")
    project.write("src/app/__init__.py", "value = 1\n")

    assert project.ids() == ["a", "b"]


def test_folders_below_src_and_packages_have_their_dotted_names(project: Project) -> None:
    project.write("src/shop/__init__.py", "")
    project.task("src/shop/tasks/one.py", "one", before="assert __name__ == 'shop.tasks.one'\n")

    assert project.ids("src/shop/tasks") == ["one"]
    assert project.ids("shop.tasks") == ["one"]


def test_a_change_within_the_second_and_of_the_same_size_is_seen(project: Project) -> None:
    """Python itself would take the bytecode of the first for that of the second."""
    project.task("trigger/orders.py", "first")
    source = project.root / "trigger" / "orders.py"
    moment = time.time() + 3_600  # just now, however slow this machine is
    os.utime(source, (moment, moment))
    assert project.ids() == ["first"]

    project.task("trigger/orders.py", "other")
    os.utime(source, (moment, moment))

    assert project.ids() == ["other"]


def test_bytecode_of_settled_sources_is_stored(project: Project) -> None:
    project.task("trigger/orders.py", "orders")
    os.utime(project.root / "trigger" / "orders.py", (1_000_000_000, 1_000_000_000))

    assert project.ids() == ["orders"]

    assert list((project.root / "trigger" / "__pycache__").glob("orders.*.pyc"))


def test_a_broken_file_hides_no_other(project: Project) -> None:
    project.write("trigger/broken.py", "x = 1\ndef f(:\n")
    project.write("trigger/leaves.py", "import sys\n\nsys.exit(3)\n")
    project.write("trigger/missing.py", "import no_such_module\n")
    project.task("trigger/uses.py", "uses", before="import trigger.broken\n")
    project.task("trigger/works.py", "works")

    findings = project.discover()

    assert [(error.file, error.line) for error in findings.errors] == [
        ("trigger/broken.py", 2),
        ("trigger/leaves.py", 3),
        ("trigger/missing.py", 1),
    ]
    assert "SyntaxError" in findings.errors[0].message
    assert "no_such_module" in str(findings.errors[2])
    assert findings.manifest is not None
    assert [task.id for task in findings.manifest.tasks] == ["works"]


def test_two_tasks_of_one_id_are_an_error_of_the_second(project: Project) -> None:
    project.task("trigger/a.py", "same")
    project.task("trigger/b.py", "same")

    (error,) = project.discover().errors

    assert error.file == "trigger/b.py"
    assert "a.py" in error.message
    assert "b.py" in error.message


def test_prints_of_task_modules_do_not_disturb_the_answer(project: Project) -> None:
    project.task("trigger/a.py", "a", before="import os\nprint('hello')\nos.system('echo loud')\n")

    assert project.ids() == ["a"]


def test_a_task_from_outside_the_dirs_is_warned_about(project: Project) -> None:
    project.task("lib/far.py", "far")
    project.task("trigger/near.py", "near", before="import lib.far\n")

    findings = project.discover()

    (warning,) = findings.warnings
    assert "'far'" in warning
    assert "lib/far.py" in warning


def test_a_decorator_around_the_task_is_warned_about(project: Project) -> None:
    project.write(
        "trigger/a.py",
        """
        import functools
        from outlast import task

        def around(inner):
            def wrapper(*args): ...
            wrapper.__wrapped__ = inner
            return wrapper

        @around
        @task("hidden")
        async def run(payload: int) -> int: ...
        """,
    )

    (warning,) = project.discover().warnings
    assert "put @task on top" in warning


def test_a_missing_folder_is_an_error_that_says_what_to_do(project: Project) -> None:
    (error,) = project.discover("tasks").errors
    assert "dirs" in error.message

    (error,) = project.discover("../elsewhere").errors
    assert "../elsewhere" in error.message


def test_a_name_that_is_taken_by_an_installed_package_is_an_error(project: Project) -> None:
    project.task("json/decoder.py", "a")

    (error,) = project.discover("json").errors
    assert "rename" in error.message


def test_equal_code_is_an_equal_version(project: Project) -> None:
    project.task("trigger/a.py", "a", before="import app\n")
    project.write("app/__init__.py", "")
    project.write("app/later.py", "x = 1\n")
    project.write("tests/test_app.py", "")
    first = project.digest()

    project.write("README.md", "changed")
    project.write("tests/test_app.py", "changed = 1\n")
    assert project.digest() == first

    project.write("app/later.py", "x = 2\n")  # imported by nobody yet, but of a used package
    second = project.digest()
    project.write("trigger/a.py", (project.root / "trigger/a.py").read_text() + "\ny = 1\n")
    third = project.digest()
    assert len({first, second, third}) == 3


async def test_defaults_of_the_project_count_for_tasks_that_say_nothing(project: Project) -> None:
    project.task("trigger/a.py", "a")
    own = project.root / "trigger/b.py"
    project.task("trigger/b.py", "b")
    own.write_text(own.read_text().replace('@task("b"', '@task("b", ttl=0, max_duration="1m"'))
    settings = WorkerSettings(
        api_urls=("http://127.0.0.1:1",),
        secret_key="k" * 32,
        project_root=project.root,
        ttl=60.0,
        max_duration=600.0,
    )

    findings = await find(settings)

    assert findings.manifest is not None
    found = [(task.ttl, task.max_duration) for task in findings.manifest.tasks]
    assert found == [(60.0, 600.0), (0.0, 60.0)]


async def test_the_supervisor_asks_a_fresh_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER_SECRET_KEY", "tr_dev_" + "k" * 32)
    leak = "import os, json\nopen('env.json', 'w').write(json.dumps(dict(os.environ)))\n"
    project.task("trigger/a.py", "a", before=leak)
    settings = WorkerSettings(
        api_urls=("http://127.0.0.1:1",), secret_key="k" * 32, project_root=project.root
    )

    findings = await find(settings)

    assert findings.manifest is not None
    assert [task.id for task in findings.manifest.tasks] == ["a"]
    assert "trigger.a" not in sys.modules
    environment = json.loads((project.root / "env.json").read_text())
    assert not [name for name, value in environment.items() if "kkkk" in value]


async def test_modules_that_end_python_are_an_error(project: Project) -> None:
    project.write("trigger/a.py", "import os\nos._exit(7)\n")
    settings = WorkerSettings(
        api_urls=("http://127.0.0.1:1",), secret_key="k" * 32, project_root=project.root
    )

    findings = await find(settings)

    assert findings.manifest is None
    assert "7" in findings.errors[0].message
