"""The house rules that a machine can keep: sizes, names, opening sentences, the map, the layers."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "outlast"
MODULES = sorted(SOURCE.rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60
LONGEST_PAUSE = 2.0  # between two looks, or two heartbeats
SHORT_SLEEP = 0.01
OUTAGES = {"OUTAGE"}  # leases go by real time; named is how long they take to run out
BANNED = {"utils", "util", "common", "helpers", "core", "models", "types", "misc", "base"}


def test_modules_are_short_enough_to_read_at_once() -> None:
    """Past the budget a module holds two concepts: split it at the noun."""
    sizes = {_place(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {place: size for place, size in sizes.items() if size > MODULE_LINES} == {}


def test_functions_are_short_enough_to_see_at_once() -> None:
    """Docstrings do not count."""
    sizes = {
        f"{_place(path)}:{function.lineno} {function.name}": _lines(function)
        for path in MODULES
        for function in _functions(path)
    }

    assert {place: size for place, size in sizes.items() if size > FUNCTION_LINES} == {}


def test_modules_are_named_after_a_concept() -> None:
    """A drawer for everything hides where things are."""
    named = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}

    assert named & BANNED == set()


def test_each_module_opens_with_a_sentence() -> None:
    """It says what lives there."""
    silent = [_place(path) for path in MODULES if not _opening(path)]

    assert silent == []


def test_no_test_sleeps_for_time_to_pass() -> None:
    """Tests await moments, own the clock, or look again after a pause. Tasks may do as they like.

    So a pause stands in a loop and is short; a function inside of another may be a task's code.
    """
    sleeps = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for function in _outermost(ast.parse(path.read_text()))
        for call, in_loop in _own_calls(function)
        if ast.unparse(call.func) in {"asyncio.sleep", "time.sleep"}
        and not _is_pause(call.args[0], in_loop=in_loop)
        and ast.unparse(call.args[0]) not in OUTAGES
    ]

    assert sleeps == []


def test_every_path_of_the_map_exists() -> None:
    """docs/map.md answers "where is ...?", so it must not lie."""
    text = (ROOT / "docs" / "map.md").read_text()
    paths = [match for match in re.findall(r"`([\w./-]+)`", text) if "/" in match]
    missing = [
        path for path in paths if not (ROOT / path).exists() and not (SOURCE / path).exists()
    ]

    assert len(paths) > 20
    assert missing == []


def test_the_layers_hold() -> None:
    """cli, server, engine, client, protocol: imports point one way (pyproject.toml)."""
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


HEAVY = "typer rich asyncpg fastapi starlette uvicorn websockets jinja2 sqlalchemy watchfiles"


@pytest.mark.parametrize("module", HEAVY.split())
def test_import_outlast_loads_no_command_line_web_or_sql_stack(
    module: str, loaded: set[str]
) -> None:
    """An application pays for the SDK and its client only."""
    assert module not in loaded


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the modules that a fresh interpreter has after `import outlast`."""
    listed = subprocess.run(
        [sys.executable, "-c", "import outlast, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.split())


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _outermost(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield functions and methods that are inside of no other one, and no tasks."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in [*tree.body, *(each for owner in classes for each in owner.body)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = [ast.unparse(each) for each in node.decorator_list]
            if not any(mark.startswith(("task(", "schedules.task(")) for mark in marks):
                yield node


def _own_calls(node: ast.AST, *, in_loop: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls that a function makes for their own sake, and whether each is in a loop."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Await | ast.Expr) and isinstance(child.value, ast.Call):
            yield child.value, in_loop
        loops = isinstance(child, ast.While | ast.For | ast.AsyncFor)
        yield from _own_calls(child, in_loop=in_loop or loops)


def _is_pause(seconds: ast.expr, *, in_loop: bool) -> bool:
    if not isinstance(seconds, ast.Constant):
        return in_loop
    return float(str(seconds.value)) <= (LONGEST_PAUSE if in_loop else SHORT_SLEEP)


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def _opening(path: Path) -> bool:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = docstring.split("\n\n")[0].strip()
    return paragraph.endswith((".", ":", "?"))
