"""What commands say: styled on a terminal, plain lines in a pipe, one line for an error."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich costs 100 ms and only a terminal needs it
    from rich.console import Console

PATIENCE = 1.0
"""Seconds after which something that is still going on says so."""


class Stop(Exception):  # noqa: N818 - a verdict of the command, shown as its last line
    """The command cannot go on; the message is all that the user needs."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def say(text: str = "", *, style: str | None = None) -> None:
    """Print one line for the user. `style` is rich's and shows on a terminal only."""
    if style is not None and sys.stdout.isatty():
        _console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    else:
        print(text, flush=True)


def warn(text: str) -> None:
    """Print one line on stderr, so that a pipe of the output stays clean."""
    print(f"outlast: {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say `what` is going on when it takes longer than a second, and how long it took."""
    began = time.monotonic()
    timer = threading.Timer(PATIENCE, say, (f"{what} …",), {"style": "dim"})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if (took := time.monotonic() - began) > PATIENCE:
        say(f"{what}: done after {took:.1f} s", style="dim")


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns, with a header."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for number, row in enumerate((columns, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(line.rstrip(), style="bold" if number == 0 else None)


def minute(moment: datetime | None) -> str:
    """Return a moment as lists show it; `-`: there is none."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `83ms`, `1.2s`, `2m 05s`, `1h 02m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


@cache
def _console() -> "Console":
    from rich.console import Console

    return Console()
