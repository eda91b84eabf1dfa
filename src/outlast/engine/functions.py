"""The SQL functions of this code version, in a schema named after their content.

Functions change with the code that calls them, so each version has its own schema and servers of
two versions run side by side. Files and statements write `outlast_code.` where they mean it, as in
`select * from outlast_code.turn(:environment, …)`.
"""

import functools
import hashlib
import re
from pathlib import Path

_FUNCTIONS = Path(__file__).parent / "sql" / "functions"
_PLACEHOLDER = re.compile(r"\boutlast_code\b")


@functools.cache
def function_files() -> tuple[tuple[str, str], ...]:
    """Return (file name, text) of every function file, in the order they are run."""
    return tuple(
        (path.name, path.read_text(encoding="utf-8")) for path in sorted(_FUNCTIONS.glob("*.sql"))
    )


@functools.cache
def functions_schema() -> str:
    """Return the schema of this code's functions: `outlast_` + 12 hex of their content."""
    digest = hashlib.sha256()
    for name, text in function_files():
        digest.update(f"{name}\0{text}\0".encode())
    return f"outlast_{digest.hexdigest()[:12]}"


def expand(sql: str) -> str:
    """Return SQL with `outlast_code` replaced by the schema of this code's functions."""
    return _PLACEHOLDER.sub(functions_schema(), sql)
