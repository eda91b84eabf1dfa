"""Where code stands: the line to name in a message, and whether an error may be raised there."""

import sysconfig
from pathlib import Path
from types import FrameType
from typing import Final

_STDLIB: Final = str(sysconfig.get_path("stdlib"))
_OURS: Final = str(Path(__file__).parents[1])
_INSTALLED: Final = tuple({str(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
_PYTHON: Final = (_STDLIB, "<frozen")
_LIBRARIES: Final = (*_PYTHON, _OURS)


def line_of(found: FrameType | None) -> str:
    """Return file, line and name of the innermost code that is neither Python's nor ours."""
    innermost = found
    while found is not None:
        if not found.f_code.co_filename.startswith(_LIBRARIES):
            return _say(found)
        found = found.f_back
    return _say(innermost) if innermost is not None else "an unknown line"


def is_users(found: FrameType | None) -> bool:
    """Say whether the innermost code is the user's own: no library holds a lock in it."""
    if found is None:
        return False
    return not found.f_code.co_filename.startswith((*_LIBRARIES, *_INSTALLED))


def is_ours(found: FrameType | None) -> bool:
    """Say whether our code executes, or what it called of Python's library."""
    while found is not None and found.f_code.co_filename.startswith(_PYTHON):
        found = found.f_back
    return found is not None and found.f_code.co_filename.startswith(_OURS)


def _say(found: FrameType) -> str:
    code = found.f_code
    return f"{code.co_filename}:{found.f_lineno} in {code.co_qualname}"
