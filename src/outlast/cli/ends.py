"""Waiting for the end of a run on the terminal, and what is printed then."""

import json
import sys

from outlast.cli.calls import call
from outlast.cli.connection import Connection
from outlast.cli.terminal import Stop, say
from outlast.client import runs
from outlast.client.runs import End


def wait_for_end(found: Connection, run_id: str) -> None:
    """Wait until the run ends; print its output, or stop with its error."""
    said: str | None = None
    while True:
        end = call(found, runs.end(run_id, runs.POLL_SECONDS if said else 2.0))
        if end is not None:
            show_end(end)
            return
        # A run that does not move has a named reason; the terminal should not be silent about it.
        detail = call(found, runs.retrieve(run_id))
        state = f"{detail.status}{f': {detail.reason}' if detail.reason else ''}"
        if state != said:
            print(f"{run_id}  {state}", file=sys.stderr, flush=True)
            said = state


def show_end(end: End) -> None:
    """Print a run's output. Raises `Stop` with the error of a run that has none."""
    if end.error is not None or end.status != "COMPLETED":
        error = end.error
        what = f"{error.name}: {error.message}" if error is not None else "no output"
        trace = f"\n{error.stack_trace.rstrip()}" if error is not None and error.stack_trace else ""
        raise Stop(f"{end.id} {end.status}: {what}{trace}")
    say(json.dumps(json.loads(bytes(end.output)), indent=2, ensure_ascii=False))
