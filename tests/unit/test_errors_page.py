"""The page of errors names every error there is, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import outlast
from outlast.protocol.outcomes import SUSPECTED, UNKNOWN_TASK, WORKER_LOST, ErrorKind

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "outlast"
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()
NEVER_ANSWERED = {"engine_error", "statement_failed"}
"""Codes of base classes inside, which leave a server as `internal`."""
READ_ONLY = {"Error", "Unknown"}
"""Stand-ins of clients for an end that says nothing of itself."""


def told(heading: str) -> set[str]:
    """Return the names in the first column of a section's tables."""
    section = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
    assert section is not None, heading
    rows = re.findall(r"^\| (`[^|]*) \|", section[1], re.MULTILINE)
    found = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(found) == len(set(found)), "named twice"
    return set(found)


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func).rpartition(".")[2], node


def texts(node: ast.Call, place: int, keyword: str) -> Iterator[str]:
    """Yield the constant that a call gives at a place or by keyword."""
    given = [*node.args[place : place + 1]]
    given += [each.value for each in node.keywords if each.arg == keyword]
    for each in given:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def test_every_exception_of_the_package_is_told() -> None:
    there = {
        name
        for name in outlast.__all__
        if isinstance(found := getattr(outlast, name), type) and issubclass(found, BaseException)
    }

    assert told("Exceptions") == there


def test_every_kind_of_failure_is_told() -> None:
    assert told("Kinds of failure") == set(get_args(ErrorKind))


def test_every_failure_that_the_platform_finds_is_told() -> None:
    found = {
        text for name, node in calls() if name == "RunError" for text in texts(node, 1, "type")
    }
    for path in (SOURCE / "engine" / "sql").rglob("*.sql"):
        found |= set(re.findall(r"error_text\('\w+', '(\w+)'", path.read_text()))
        found |= set(re.findall(r"'type', '(\w+)'", path.read_text()))

    assert told("What the platform finds") == found - READ_ONLY | {
        SUSPECTED,
        WORKER_LOST,
        UNKNOWN_TASK,
    }


def test_every_code_of_the_api_is_told() -> None:
    found = {
        text
        for name, node in calls()
        if name in {"Problem", "Refusal"}
        for text in texts(node, 1, "code")
    }
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found |= {
                    str(line.value.value)
                    for line in node.body
                    if isinstance(line, ast.Assign)
                    and ast.unparse(line.targets[0]) == "code"
                    and isinstance(line.value, ast.Constant)
                }
    found |= {
        text
        for name, node in calls()
        if name in {"Conflict", "Unauthorized", "InvalidRequest", "NotFound", "EngineError"}
        for text in texts(node, 99, "code")
    }

    assert told("Codes of the API") == found - NEVER_ANSWERED
