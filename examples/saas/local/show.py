"""What the demo prints: rich on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Show:
    """The demo's voice."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._said = -1

    @property
    def is_live(self) -> bool:
        """Whether a person watches."""
        return sys.stdout.isatty()

    def title(self, text: str) -> None:
        """Open a part."""
        self._print(f"\n{text}", "bold")

    def line(self, text: str, style: str = "") -> None:
        """Say one thing."""
        self._print(f"  {text}", style)

    def trouble(self, text: str) -> None:
        """Say what went wrong."""
        self.line(text, "red")

    def verdict(self, holds: bool, text: str) -> None:
        """Say whether something holds."""
        self._print(f"  {'✔' if holds else '✘'} {text}", "green" if holds else "bold red")

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Say that something goes on, and how long it took."""
        began = time.monotonic()
        if self.is_live:
            with self._console.status(f"{text} …"):
                yield
        else:
            yield
        self.line(f"{text}: {time.monotonic() - began:.1f} s", "dim")

    @contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """Show the pages of the export while the block runs."""
        if not self.is_live:
            yield
            return
        columns = (TextColumn("  pages"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            self._progress, self._bar = progress, progress.add_task("pages", total=total)
            try:
                yield
            finally:
                self._progress = None

    def pages(self, done: int, total: int | None) -> None:
        """Move the bar; without a terminal, say each tenth of the way."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done, total=total)
        elif total and done != self._said and (done * 10 // total) != (self._said * 10 // total):
            self._said = done
            self.line(f"page {done} of {total}")

    def _print(self, text: str, style: str) -> None:
        # Through the console of the bar, so that lines stand above it.
        console = self._progress.console if self._progress is not None else self._console
        console.print(Text(text, style))
