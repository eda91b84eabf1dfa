"""What a `_sync` call does to the event loop it is made on."""

import asyncio
import sys
import warnings
from pathlib import Path

from outlast.sdk import runtime
from outlast.sdk.errors import BlockingCallWarning, UsageError
from outlast.sdk.registry import registry

_PACKAGE = str(Path(__file__).parents[1])


def check_blocking(name: str, instead: str) -> None:
    """Warn when `name` blocks a running loop, once per call site; refuse it in an async task.

    An async task shares its loop with whoever would answer the call.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    run = runtime.current()
    task = registry.tasks.get(run.context.task.id) if run is not None else None
    if task is not None and task.is_async:
        raise UsageError(f"{name} blocks the event loop of task {task.id}; use `await {instead}`")
    warnings.warn(
        f"{name} blocks the running event loop until it is answered; use `await {instead}`",
        BlockingCallWarning,
        stacklevel=_depth(),
    )


def _depth() -> int:
    """Return the `stacklevel` of the nearest frame outside this package."""
    depth = 1
    frame = sys._getframe(1)  # noqa: SLF001 - warnings on 3.11 cannot skip a package's frames
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        depth += 1
    return depth
