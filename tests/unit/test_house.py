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
LONG_SLEEP = 0.5
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
    """Tests await moments, or own the clock. Functions inside of them may be the code of tasks."""
    sleeps = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for function in _functions(path)
        if function.name.startswith("test_")
        for call in _calls(function)
        if ast.unparse(call.func) in {"asyncio.sleep", "time.sleep"}
        and isinstance(call.args[0], ast.Constant)
        and float(ast.unparse(call.args[0])) >= LONG_SLEEP
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


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that a function makes itself, not those of functions inside of it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls(child)


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
