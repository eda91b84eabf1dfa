"""Import task modules into the process of a test, for `outlast.testing` to play with."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from outlast import Task
from outlast.sdk.registry import registry


def tasks_of(files: Iterable[Path]) -> dict[str, Task[Any, Any]]:
    """Return the tasks that modules declare, by id; nothing else gets to know them."""
    with registry.isolated():
        for file in files:
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return registry.tasks
