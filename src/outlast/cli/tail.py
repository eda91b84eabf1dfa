"""Following a run on the terminal: a line whenever its status, attempt or metadata changes."""

import json
import time

from outlast.cli.calls import call
from outlast.cli.connection import Connection
from outlast.cli.ends import show_end
from outlast.cli.terminal import say
from outlast.client import runs
from outlast.protocol.bodies import RunDetail

_LOOK_SECONDS = 0.5


def follow(found: Connection, run_id: str) -> None:
    """Print what changes until the run ends, then its output. Raises `Stop` with its error."""
    said: tuple[str, ...] = ()
    while True:
        detail = call(found, runs.retrieve(run_id))
        lines = _lines(detail)
        for line in lines:
            if line not in said:
                say(f"{time.strftime('%H:%M:%S')}  {line}")
        said = lines
        # The long poll is the pause: it answers as soon as the run ends.
        if (end := call(found, runs.end(run_id, _LOOK_SECONDS))) is not None:
            show_end(end)
            return


def _lines(run: RunDetail) -> tuple[str, ...]:
    children = run.related_runs.children or ()
    return (
        f"{run.status}{f': {run.reason}' if run.reason else ''}"
        + (f"  attempt {run.attempt_count}" if run.attempt_count > 1 else ""),
        *(
            f"{name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in (run.metadata or {}).items()
        ),
        *(f"child {child.id}  {child.task_identifier}  {child.status}" for child in children),
    )
