"""Each row of docs/concepts/guarantees.md names the test that shows it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/concepts/guarantees.md").read_text()
ROWS = [
    row
    for row in PAGE.splitlines()
    if row.startswith("| ") and not row.rstrip("| ").endswith("shown by")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row).split("|")[1].strip())
def test_a_guarantee_is_shown_by_a_test_that_exists(row: str) -> None:
    named = re.fullmatch(r"\|.*\| `(tests/[\w/]+\.py)::(test_\w+)` \|", row)
    assert named is not None, "its last column names no test"
    tree = ast.parse((ROOT / named[1]).read_text())

    there = {
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    }
    assert named[2] in there


def test_both_tables_are_read() -> None:
    assert len(ROWS) >= 18
