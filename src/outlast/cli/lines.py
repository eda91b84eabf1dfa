"""One line per event of a worker, for people: what is ready, what ended, what went wrong."""

import asyncio
from functools import singledispatch
from itertools import groupby
from typing import NamedTuple

from outlast.cli.terminal import duration, say
from outlast.worker import events

_MOST_OF_ERROR = 300
"""Characters of an error that a line shows."""


class Line(NamedTuple):
    """What to print, in which style."""

    text: str
    style: str | None = None


class Lines:
    """Prints lines, those of one turn of the loop at once: a busy worker has thousands a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: list[Line] = []

    def add(self, line: Line) -> None:
        """Print a line soon. Called on the loop."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Print what has gathered now."""
        lines, self._lines = self._lines, []
        for style, same in groupby(lines, key=lambda line: line.style):
            say("\n".join([line.text for line in same]), style=style)


@singledispatch
def line(event: object) -> Line | None:
    """Return the line of an event; None: nothing that a person waits for."""
    del event
    return None


@line.register
def _(event: events.RunEnded) -> Line:
    took = duration(event.seconds)
    if event.ok:
        return Line(f"✔ {event.task}  {event.run}  {took}", "green")
    told = f"{event.task}  {event.run}  {took}  {_short(event.error)}{_place(event)}"
    if event.retry_in is not None:
        again = duration(event.retry_in)
        return Line(f"↻ {told}; attempt {event.attempt + 1} in {again}", "yellow")
    if event.kind == "replay":
        return Line(
            f"‖ {told}; parked: correct the code, or `outlast runs resume {event.run}`", "yellow"
        )
    return Line(f"✘ {told}", "red")


def _place(event: events.RunEnded) -> str:
    """Return what kind of failure it was, in which attempt and where."""
    kind = "" if event.kind in (None, "raised") else f"{event.kind}, "
    line = f", {event.line}" if event.line else ""
    return f" ({kind}attempt {event.attempt}{line})"


@line.register
def _(event: events.RunRestarted) -> Line:
    return Line(f"↻ {event.task}  {event.run}  {duration(event.seconds)}  begins again", "cyan")


@line.register
def _(event: events.RunLeft) -> Line:
    return Line(f"✘ {event.task}  {event.run}  left this worker: {event.reason}", "yellow")


@line.register
def _(event: events.Rejected) -> Line:
    lines = [f"✘ {problem}" for problem in event.errors]
    if event.keeps:
        lines.append(f"  version {event.keeps} goes on until the files above are repaired")
    return Line("\n".join(lines), "red")


@line.register
def _(event: events.Warned) -> Line:
    return Line(f"! {event.message}", "yellow")


@line.register
def _(event: events.Disconnected) -> Line:
    return Line(
        f"! the link to {event.server} is gone ({event.reason}); connecting again", "yellow"
    )


@line.register
def _(event: events.Fenced) -> Line:
    count = f"{event.runs} run" + ("" if event.runs == 1 else "s")
    return Line(f"! no server answered; {count} stopped here and will go on when one does", "red")


@line.register
def _(event: events.ExecutorDied) -> Line:
    runs = f", with {', '.join(event.runs)}" if event.runs else ""
    return Line(f"! executor {event.pid} died: {event.reason}{runs}", "red")


def _short(error: str | None) -> str:
    """Return the beginning of an error: `outlast runs get` has all of it."""
    first, _, rest = (error or "").strip().partition("\n")
    return f"{first[:_MOST_OF_ERROR]} …" if rest or len(first) > _MOST_OF_ERROR else first
