"""Following a run on the terminal: its status, its metadata, and what it says."""

import json
import time
from datetime import datetime

from msgspec import UNSET

from outlast.cli.calls import call
from outlast.cli.connection import Connection
from outlast.cli.ends import show_end
from outlast.cli.terminal import say
from outlast.client import runs
from outlast.protocol.bodies import RunDetail
from outlast.protocol.timeline import LogLineBody

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


def show_logs(found: Connection, run_id: str, *, follow: bool) -> None:
    """Print what a run said; `follow` goes on until its end."""
    after = 0
    while True:
        # Asked before the lines are read: what it said last is read after its end.
        over = not follow or call(found, runs.end(run_id, 0 if after == 0 else _LOOK_SECONDS))
        after = _show_lines(found, run_id, after)
        if over:
            return


def _show_lines(found: Connection, run_id: str, after: int) -> int:
    """Print the lines after a number, and return the last number."""
    while True:
        page = call(found, runs.logs(run_id, after))
        for line in page.lines:
            if line.kind == "end" and line.level != "ERROR":
                continue
            moment = datetime.fromisoformat(line.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
            extra = json.dumps(line.attributes, ensure_ascii=False) if line.attributes else ""
            say(f"{moment}  {line.level:<5}  {line.message}  {extra}".rstrip(), style=_style(line))
        after = max((line.number for line in page.lines), default=after)
        if page.next is UNSET:
            return after


def _style(line: LogLineBody) -> str | None:
    return {"ERROR": "red", "WARN": "yellow", "DEBUG": "dim", "TRACE": "dim"}.get(line.level)


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
