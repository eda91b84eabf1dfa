"""Log lines on their way: made fit to store by the executor, gathered by the supervisor."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from outlast.protocol.frames import Frame, Kind, body
from outlast.protocol.messages import LogLine

MAX_LINE: Final = 8_000
"""Characters of a line that are kept."""
MAX_SCOPE: Final = 350

_PAUSE = 0.1  # seconds that lines gather
_MOST = 500  # lines of one report
_MASK = "***"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")
_decoder = msgspec.msgpack.Decoder(LogLine)


class _Lines(msgspec.Struct, frozen=True):
    """A report of nothing but lines, still encoded."""

    logs: list[msgspec.Raw]


def clean(text: str) -> str:
    """Return a text as a page can show it: no colours, no overwritten parts, cut with a mark."""
    if not text.isprintable():
        text = _ESCAPES.sub("", text)
        text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n")).replace("\r", "")
        text = _CONTROLS.sub("", text.replace("\0", "\\x00"))
        text = text.encode(errors="replace").decode()
    if len(text) > MAX_LINE:
        text = f"{text[:MAX_LINE]}… ({len(text) - MAX_LINE:,} more characters)"
    return text


def cut(path: str) -> str:
    """Return the path of a scope, or what stands for one that is too long to index."""
    if len(path) <= MAX_SCOPE:
        return path
    return f"{path[:MAX_SCOPE]}~{hashlib.blake2b(path.encode(), digest_size=16).hexdigest()}"


def _escaped(text: str) -> str:
    """Return a text as it stands in JSON, which attributes are."""
    return msgspec.json.encode(text).decode()[1:-1]


class Gathering:
    """Lines of many runs between executors and the link: what gathers travels as one report.

    `known` are secrets of this worker; a line that holds one is stored without it.
    """

    def __init__(self, send: Callable[[list[Frame]], None], known: Sequence[str] = ()) -> None:
        self._send = send
        self._known: tuple[bytes, ...] = ()
        self.hide(known)
        self._lines: dict[tuple[str, int], list[msgspec.Raw]] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def hide(self, secrets: Iterable[str]) -> None:
        """Store no line with one of these either."""
        forms = {form for secret in secrets if secret for form in (secret, _escaped(secret))}
        # The longest first: one that holds another leaves nothing of itself.
        self._known = tuple(
            sorted({*self._known, *(form.encode() for form in forms)}, key=len, reverse=True)
        )

    def add(self, run: str, token: int, line: msgspec.Raw) -> None:
        """Take a line of a run."""
        lines = self._lines.setdefault((run, token), [])
        lines.append(self._masked(line))
        if len(lines) >= _MOST:
            self._send(self.take(run, token))
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self.flush)

    def take(self, run: str, token: int) -> list[Frame]:
        """Return what a run has said as frames to send before whatever it says next.

        They are numbered from -1 downwards: the executor counts its own frames upwards.
        """
        lines = self._lines.pop((run, token), None)
        if not lines:
            return []
        self._number -= 1
        return [Frame(Kind.REPORT, run, token, self._number, body(_Lines(lines)))]

    def flush(self) -> None:
        """Send what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._send([each for key in list(self._lines) for each in self.take(*key)])

    def _masked(self, line: msgspec.Raw) -> msgspec.Raw:
        data = bytes(line)
        if not any(secret in data for secret in self._known):
            return line
        said = _decoder.decode(data)
        message, attributes = said.message, said.attributes
        for secret in self._known:
            message = message.replace(secret.decode(), _MASK)
            attributes = attributes and attributes.replace(secret.decode(), _MASK)
        return body(msgspec.structs.replace(said, message=message, attributes=attributes))
