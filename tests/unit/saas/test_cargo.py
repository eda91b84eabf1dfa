"""A task is a world of its own: whose work it does stands in its payload, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from app.settings import ROOT

TASKS = sorted((ROOT / "trigger").glob("*.py"))
SHARED = sorted((ROOT / "app").rglob("payload.py"))
OF_NOBODY = {"ReconcilePayload"}
"""The nightly look at all organizations; each step of it names one."""


def payloads() -> Iterator[ast.ClassDef]:
    """Yield the classes of payloads."""
    for path in (*TASKS, *SHARED, ROOT / "app" / "notifications" / "notify.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Payload"):
                yield node


def test_the_organization_is_the_first_field_of_every_payload() -> None:
    first = {
        one.name: next(
            ast.unparse(field.target) for field in one.body if isinstance(field, ast.AnnAssign)
        )
        for one in payloads()
        if one.name not in OF_NOBODY
    }

    assert len(first) >= 6
    assert set(first.values()) == {"organization_id"}, first


@pytest.mark.parametrize("module", TASKS, ids=lambda path: path.stem)
def test_a_task_knows_nothing_of_requests(module: Path) -> None:
    """No session, cookie or header: neither the web part nor a web framework is imported."""
    imported = list[str]()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        elif isinstance(node, ast.Import):
            imported.extend(alias.name for alias in node.names)

    assert not [name for name in imported if name.startswith(("app.web", "fastapi", "starlette"))]
