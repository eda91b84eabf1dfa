"""Turn what user code raised into an error that travels as data. Errors are never pickled."""

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from pydantic import ValidationError

from outlast.protocol.outcomes import MAX_FRAMES, MAX_LINE, MAX_MESSAGE, ErrorKind, RunError
from outlast.sdk import errors

_FIRST_FRAMES = 5
_MAX_CAUSES = 10
_SOURCE = Path(__file__).parents[1]
_OWN_FRAMES = (str(_SOURCE / "sdk"), str(_SOURCE / "worker"))
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})

_KINDS: tuple[tuple[type[BaseException], ErrorKind], ...] = (
    (errors.AbortTaskRunError, "aborted"),
    (errors.PayloadError, "payload"),
    (errors.OutputError, "output"),
    (errors.OutOfMemoryError, "out_of_memory"),
    (MemoryError, "out_of_memory"),
    (errors.NonDeterministicReplayError, "replay"),
    (errors.MaxDurationExceeded, "timed_out"),
)


def describe(error: BaseException) -> RunError:
    """Return the error as data: 1,000 characters of message, 50 frames of stack, its causes."""
    data = getattr(error, "data", None)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OWN_FRAMES)
    ]
    return RunError(
        kind=_kind(error),
        type=_type(error),
        message=_cut(_message(error)),
        stack=_stack(frames),
        data=data if isinstance(data, str) else None,
        causes=tuple(
            f"{_type(cause)}: {_cut(_message(cause))}"
            for cause in islice(_causes(error), _MAX_CAUSES)
        ),
        line=_line(frames),
    )


def _kind(error: BaseException) -> ErrorKind:
    for cls, kind in _KINDS:
        if isinstance(error, cls):
            return kind
    if isinstance(error, BaseExceptionGroup):  # a TaskGroup wraps what ended it
        kinds = {_kind(member) for member in error.exceptions}
        if len(kinds) == 1:
            return kinds.pop()
    return "raised"


def _type(error: BaseException) -> str:
    return type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # pydantic's own text holds the input, which may be a secret
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = (f"{'.'.join(map(str, item['loc'])) or '(root)'}: {item['msg']}" for item in found)
        return f"{error.title}: " + "; ".join(lines)
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        members = "; ".join(f"{_type(member)}: {_message(member)}" for member in error.exceptions)
        return f"{error.message}: {members}"
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken `__str__` must not hide the failure
        return "(the error has no text: its __str__ failed)"


def _cut(text: str, most: int = MAX_MESSAGE) -> str:
    text = _storable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _storable(text: str) -> str:
    """Return text that PostgreSQL takes: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\x00").encode(errors="replace").decode()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error was raised from, and the members of groups with their own causes."""
    seen: set[int] = {id(error)}
    left = _below(error)
    while left:
        cause = left.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            left = _below(cause) + left


def _below(error: BaseException) -> list[BaseException]:
    members = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    return members if error.__cause__ is None else [*members, error.__cause__]


def _stack(frames: list[traceback.FrameSummary]) -> str:
    if len(frames) > MAX_FRAMES:
        last = MAX_FRAMES - _FIRST_FRAMES
        left_out = f"  … {len(frames) - MAX_FRAMES} more frames …\n"
        parts = [*traceback.format_list(frames[:_FIRST_FRAMES]), left_out]
        parts += traceback.format_list(frames[-last:])
    else:
        parts = traceback.format_list(frames)
    lines = "".join(parts).splitlines()
    return _storable("\n".join(_cut(line, MAX_LINE) for line in lines))


def _line(frames: list[traceback.FrameSummary]) -> str:
    """Return the innermost line that is the user's own, or a library's where there is none."""
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    if not (own or frames):
        return ""
    found = (own or frames)[-1]
    return _cut(f"{_short(found.filename)}:{found.lineno} in {found.name}", MAX_LINE)


def _short(file: str) -> str:
    """Return a path as seen from the project, where executors are."""
    with contextlib.suppress(OSError):  # the folder may be gone
        return file.removeprefix(f"{Path.cwd()}/")
    return file
