"""What code prints and logs in a run, taken where every library passes: streams and `logging`."""

import io
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TextIO

from outlast.protocol.messages import LogLevel

_MOST_PARTIAL = 64 * 1024
"""Characters without a line's end after which they count as a line."""
_WARNING, _ERROR, _INFO = logging.WARNING, logging.ERROR, logging.INFO

_handling: Final = threading.local()


class Speaker(Protocol):
    """A run whose words are wanted."""

    def said(self, level: LogLevel, message: str, *, placed: bool = True) -> bool:
        """Take a line; False when a replay only repeats it. `placed`: the code says it itself."""


Owner = Callable[[], Speaker | None]


class Stream(io.TextIOBase):
    """Stands for stdout or stderr: lines of runs go to their run, and on if `echo` says so."""

    def __init__(self, inner: TextIO, level: LogLevel, owner: Owner, *, echo: bool) -> None:
        self._inner = inner
        self._level = level
        self._owner = owner
        self._echo = echo
        self._partial: weakref.WeakKeyDictionary[Speaker, dict[int, str]] = (
            weakref.WeakKeyDictionary()
        )

    def write(self, text: str, /) -> int:
        """Take a text; a line counts when it is complete, as it was written."""
        run = None if getattr(_handling, "now", False) else self._owner()
        if run is None:
            return self._inner.write(text)
        thread = threading.get_ident()
        partials = self._partial.setdefault(run, {})
        whole = partials.pop(thread, "") + text
        if whole.endswith("\n") or len(whole) > _MOST_PARTIAL:
            self._line(run, whole.removesuffix("\n"))
        elif whole:
            partials[thread] = whole
        return len(text)

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Take several texts."""
        for each in lines:
            self.write(each)

    def finish(self, run: Speaker) -> None:
        """Take what a run began to write and will not go on with."""
        if len(self._partial):  # after every run, and nearly always empty
            for partial in self._partial.pop(run, {}).values():
                self._line(run, partial)

    def flush(self) -> None:
        """Flush the stream behind."""
        self._inner.flush()

    def isatty(self) -> bool:
        """Say whether the stream behind is a terminal."""
        return self._inner.isatty()

    def fileno(self) -> int:
        """Return the file descriptor behind: what is written there belongs to no run."""
        return self._inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream behind."""
        return self._inner.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream behind treats what it cannot encode."""
        return self._inner.errors

    def writable(self) -> bool:
        """Say yes."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _line(self, run: Speaker, text: str) -> None:
        if run.said(self._level, text) and self._echo:
            self._inner.write(f"{text}\n")


def capture_streams(owner: Owner, *, echo: bool) -> Callable[[Speaker], None]:
    """Put captured streams in place of stdout and stderr; returns what finishes a run's lines."""
    out = Stream(sys.stdout, "LOG", owner, echo=echo)
    err = Stream(sys.stderr, "WARN", owner, echo=echo)
    sys.stdout, sys.stderr = out, err

    def finish(run: Speaker) -> None:
        out.finish(run)
        err.finish(run)

    return finish


def capture_logs(owner: Owner) -> None:
    """Send what `logging` handles inside a run to its report, whatever handlers are set.

    Taken where records are handed to handlers: `dictConfig` replaces handlers, not this. What a
    replay repeats reaches no handler either.
    """
    handle = logging.Logger.callHandlers
    if getattr(handle, "outlast", False):
        return

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        run = None if getattr(_handling, "now", False) else owner()
        if run is not None:
            ours = record.name == "outlast" or record.name.startswith("outlast.")
            fresh = run.said(_level(record.levelno), _text(record), placed=not ours)
            if not fresh:
                return
        before = getattr(_handling, "now", False)
        _handling.now = True  # what handlers write to stderr is no second line
        try:
            handle(logger, record)
        finally:
            _handling.now = before

    call_handlers.outlast = True  # type: ignore[attr-defined]
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]


def _level(number: int) -> LogLevel:
    if number >= _ERROR:
        return "ERROR"
    if number >= _WARNING:
        return "WARN"
    return "INFO" if number >= _INFO else "DEBUG"


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a format string that does not fit must not fail the run
        text = str(record.msg)
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text
