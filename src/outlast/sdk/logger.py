"""The logger of a run: lines and spans that its page shows, with attributes.

`print` and the `logging` module are captured as well; this adds attributes and spans. Outside a run
it writes to the standard logger named `outlast.logger`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from outlast.protocol.messages import LogLevel
from outlast.sdk import runtime
from outlast.sdk.errors import UsageError
from outlast.sdk.runtime import SEVERITIES, Words
from outlast.sdk.serde import Codec
from outlast.sdk.texts import storable_json

MAX_ATTRIBUTES: Final = 256
MAX_CHARACTERS: Final = 32_000
"""Of all attributes of a line, as JSON text; what is over is left out with a mark."""

Attributes = Mapping[str, object] | None

_json: Final = Codec[Any](lambda: Any, subject="attributes", owner="logger", error=UsageError)
_outside: Final = logging.getLogger("outlast.logger")


class Logger:
    """Says lines for the run that the calling code belongs to."""

    __slots__ = ()

    def debug(self, message: str, attributes: Attributes = None) -> None:
        """Say what only helps to find a mistake; shown with `log_level = "debug"`."""
        self._line("DEBUG", message, attributes)

    def log(self, message: str, attributes: Attributes = None) -> None:
        """Say what `print` would say."""
        self._line("LOG", message, attributes)

    def info(self, message: str, attributes: Attributes = None) -> None:
        """Say what happened."""
        self._line("INFO", message, attributes)

    def warn(self, message: str, attributes: Attributes = None) -> None:
        """Say what somebody should look at."""
        self._line("WARN", message, attributes)

    def error(self, message: str, attributes: Attributes = None) -> None:
        """Say what went wrong."""
        self._line("ERROR", message, attributes)

    @contextmanager
    def trace(self, name: str, attributes: Attributes = None) -> Iterator[None]:
        """Show what happens inside the `with` block as a span of the run's timeline."""
        run = runtime.current()
        if run is None:
            yield
            return
        words = Words(
            "TRACE", name, "start", parent=runtime.span(), attributes=_encoded(attributes)
        )
        span = run.begin(words)
        try:
            with runtime.within(span):
                yield
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
            run.say(Words("ERROR", told, "end", span))
            raise
        run.say(Words("TRACE", name, "end", span))

    def _line(self, level: LogLevel, message: str, attributes: Attributes) -> None:
        run = runtime.current()
        if run is None:
            _outside.log(SEVERITIES[level], "%s", message)
        elif run.logs(level) and run.say(
            Words(level, message, span=runtime.span(), attributes=_encoded(attributes))
        ):
            run.echo(f"{level:<5} {message}")


logger: Final = Logger()
"""The logger of the run that the calling code belongs to."""


def _encoded(attributes: Attributes) -> str | None:
    if not attributes:
        return None
    kept = dict(list(attributes.items())[:MAX_ATTRIBUTES])
    text = storable_json(_json.encode(kept), "an attribute of a log line")
    if len(text) > MAX_CHARACTERS or len(kept) < len(attributes):
        return _json.encode(
            {
                "outlast": f"{len(attributes)} attributes with {len(text):,} characters were left "
                f"out: a line keeps {MAX_ATTRIBUTES} and {MAX_CHARACTERS:,}"
            }
        )
    return text
